//! Parts of data that have each class as often as the whole.

use std::{collections::BTreeMap, fmt::Debug};

use super::Permutation;
use crate::{
    error::Fallible,
    rng::{Stream, stream_seed},
};

/// The samples of each class in random order, the classes in that of their first samples.
pub(super) fn classes<C: Ord + Debug>(labels: &[C], len: usize, parts: usize, seed: u64) -> Fallible<Vec<Vec<usize>>> {
    if labels.len() != len {
        let given = labels.len();
        return Err(format!("there are {given} labels, but {len} samples: give one for each sample").into());
    }
    let mut numbers = BTreeMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (index, class) in labels.iter().enumerate() {
        let number = *numbers.entry(class).or_insert(members.len());
        if number == members.len() {
            members.push(Vec::new());
        }
        members[number].push(index);
    }
    if let Some(few) = members.iter().find(|members| members.len() < parts) {
        let (class, count) = (&labels[few[0]], few.len());
        let fix = "join it with another, leave it out, or split without regard to classes";
        return Err(format!("class {class:?} has samples for {count} of {parts} parts only: {fix}").into());
    }
    let shuffled = |(class, members): (u64, Vec<usize>)| shuffle(&members, stream_seed(seed, Stream::Split, 1, class));
    Ok((0..).zip(members).map(shuffled).collect())
}

/// The samples of each part, of which one ends where the next one begins; each has its share of every class.
pub(super) fn deal(classes: &[Vec<usize>], ends: &[usize], len: usize) -> Vec<Vec<usize>> {
    // What is in no part is the last one here.
    let starts = [0].into_iter().chain(ends.iter().copied());
    let sizes: Vec<usize> = starts.zip(ends.iter().copied().chain([len])).map(|(start, end)| end - start).collect();
    let counts = apportion(&classes.iter().map(Vec::len).collect::<Vec<_>>(), &sizes);
    let mut parts = vec![Vec::new(); ends.len()];
    for (members, counts) in classes.iter().zip(counts) {
        let mut members = members.iter().copied();
        parts.iter_mut().zip(counts).for_each(|(part, count)| part.extend(members.by_ref().take(count)));
    }
    parts
}

/// The same values in the order of a seed.
pub(super) fn shuffle(values: &[usize], seed: u64) -> Vec<usize> {
    let order = Permutation::new(seed, values.len() as u64);
    (0..values.len()).map(|i| values[order.get(i as u64) as usize]).collect()
}

/// How many samples of each class go to each part, given how many each class has and how many each part gets, which are
/// the same together. The exact share of a class in a part is hardly ever a whole number: it is rounded down or up, and
/// never farther away, such that all sums hold.
///
/// Such a table always exists, because the exact shares fulfil the sums: this is a flow problem with whole bounds (Cox
/// 1987 calls it controlled rounding). Going through the classes, what is left of each goes to the parts that are the
/// farthest behind. If some part ends up with one too many, and another with one too few, samples are passed on along a
/// chain of parts.
pub(super) fn apportion(classes: &[usize], parts: &[usize]) -> Vec<Vec<usize>> {
    let total = (classes.iter().sum::<usize>() as i128).max(1);
    let share = |class: usize, part: usize| class as i128 * part as i128;
    let mut table = Vec::new();
    // How far each part is behind its exact share, in parts of `total`.
    let mut behind = vec![0; parts.len()];
    for &class in classes {
        let mut row: Vec<usize> = parts.iter().map(|&part| (share(class, part) / total) as usize).collect();
        parts.iter().zip(&mut behind).for_each(|(&part, behind)| *behind += share(class, part) % total);
        let left = class - row.iter().sum::<usize>();
        let mut open: Vec<usize> = (0..parts.len()).filter(|&part| share(class, parts[part]) % total > 0).collect();
        open.sort_by_key(|&part| -behind[part]);
        for part in open.into_iter().take(left) {
            row[part] += 1;
            behind[part] -= total;
        }
        table.push(row);
    }
    let is_up = |row: &[usize], class: usize, part: usize| row[part] as i128 * total > share(class, parts[part]);
    let may_take = |row: &[usize], class: usize, part: usize| (row[part] as i128) * total < share(class, parts[part]);
    while let (Some(rich), Some(poor)) = (behind.iter().position(|&b| b < 0), behind.iter().position(|&b| b > 0)) {
        // Breadth first: from which part, and in which class, each part can get a sample.
        let mut from: Vec<Option<(usize, usize)>> = vec![None; parts.len()];
        let mut reached = vec![rich];
        let mut next = 0;
        while next < reached.len() && from[poor].is_none() {
            let giver = reached[next];
            next += 1;
            for taker in (0..parts.len()).filter(|&part| part != rich) {
                let gives =
                    |(row, &class): (&Vec<usize>, &usize)| is_up(row, class, giver) && may_take(row, class, taker);
                if from[taker].is_none()
                    && let Some(class) = table.iter().zip(classes).position(gives)
                {
                    from[taker] = Some((giver, class));
                    reached.push(taker);
                }
            }
        }
        let mut part = poor;
        while let Some((giver, class)) = from[part] {
            table[class][giver] -= 1;
            table[class][part] += 1;
            part = giver;
        }
        behind[rich] += total;
        behind[poor] -= total;
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn check(classes: &[usize], parts: &[usize]) -> Result<(), String> {
        let total = classes.iter().sum::<usize>();
        let table = apportion(classes, parts);
        for (row, &class) in table.iter().zip(classes) {
            if row.iter().sum::<usize>() != class {
                return Err(format!("{row:?} is not {class} together"));
            }
            for (&count, &part) in row.iter().zip(parts) {
                let share = class * part;
                if count < share / total || count > share.div_ceil(total) {
                    return Err(format!("{count} of {class} in {part} of {total}"));
                }
            }
        }
        for (part, &size) in parts.iter().enumerate() {
            if table.iter().map(|row| row[part]).sum::<usize>() != size {
                return Err(format!("part {part} has not {size}: {table:?}"));
            }
        }
        Ok(())
    }

    /// Numbers that add up to `total`.
    fn cut(total: usize, at: &[prop::sample::Index]) -> Vec<usize> {
        let mut ends: Vec<usize> = at.iter().map(|at| at.index(total + 1)).chain([0, total]).collect();
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn all_sums_hold_and_no_share_is_off_by_one(
            total in 1usize..300,
            classes in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            parts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            prop_assert_eq!(check(&cut(total, &classes), &cut(total, &parts)), Ok(()));
        }
    }

    #[test]
    fn many_small_classes_fill_all_parts() {
        check(&[5; 1_000], &[4_500, 500]).unwrap();
        check(&[7; 999], &[4_000, 1_993, 500, 500]).unwrap();
    }

    #[test]
    fn samples_are_passed_on_where_parts_were_filled_unequally() {
        check(&[1, 5, 4, 10], &[5, 5, 8, 2]).unwrap();
        // Through a third part.
        check(&[3, 7, 1, 1, 15, 3], &[1, 1, 10, 10, 4, 4]).unwrap();
        check(&[4, 2, 16, 13, 4], &[10, 6, 9, 1, 6, 1, 6]).unwrap();
    }

    #[test]
    fn errors_say_what_to_do() {
        let of = |labels: &[&str], len, parts| classes(labels, len, parts, 0).unwrap_err().to_string();
        assert_eq!(of(&["a"], 2, 2), "there are 1 labels, but 2 samples: give one for each sample");
        assert_eq!(
            of(&["a", "b", "a"], 3, 2),
            "class \"b\" has samples for 1 of 2 parts only: join it with another, leave it out, or split without regard to \
             classes"
        );
    }
}
