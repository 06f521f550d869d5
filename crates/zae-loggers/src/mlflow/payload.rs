//! What there is to look at, as files that MLflow's page shows.

use serde_json::json;
use zae_core::error::Fallible;

use super::{line::milliseconds, names};
use crate::{Entry, Image, Media, hash::fnv};

/// Where the pictures are that MLflow's page shows over steps. It takes nothing else there.
pub(super) const IMAGES: &str = "images/";
/// The longest part of a path, in bytes: with what is added, no file system has too short names for it.
const LONGEST: usize = 120;
/// No side of a small picture is longer: what MLflow's own have.
const SMALL: usize = 256;

/// A file: its path among the artifacts, and what is in it.
pub(super) type Payload = (String, Vec<u8>);

/// The files for an entry. Their names are worked out of the entry and of what is in them, so that writing them again
/// changes nothing.
pub(super) fn payloads(entry: &Entry<'_>, media: &Media) -> Fallible<Vec<Payload>> {
    let (name, step) = (entry.names.first().map_or("", |name| &**name), entry.step);
    let (key, time) = (part(name), milliseconds(entry.time));
    let own = |bytes: &[u8]| fnv(format!("{} {name} {time} {:x}", entry.index, fnv(bytes)).as_bytes());
    let one = |folder: &str, ending: &str, bytes: Vec<u8>| {
        let path = format!("{folder}/{key}/{step:08}-{:016x}.{ending}", own(&bytes));
        vec![(path, bytes)]
    };
    Ok(match media {
        Media::Image(image) => {
            let bytes = image.png()?;
            // As `mlflow.log_image` has it: the page takes a name apart to know what it shows, and shows the small one of both
            // in its grid.
            let stem = format!("{IMAGES}{key}+step+{step}+timestamp+{time}+{:016x}", own(&bytes));
            let small = small(image)?.map_or_else(|| Ok(bytes.clone()), |small| small.png())?;
            let mut all = vec![(format!("{stem}.png"), bytes), (format!("{stem}+compressed.png"), small)];
            all.extend(image.text().into_iter().flat_map(|text| one("captions", "txt", text.into())));
            all
        }
        Media::Text(text) => one("texts", "txt", text.as_bytes().to_vec()),
        Media::Table(table) => one("tables", "csv", table.csv().into_bytes()),
        Media::Histogram(histogram) => {
            let value = json!({"name": name, "step": step, "edges": histogram.edges(), "counts": histogram.counts()});
            one("histograms", "json", value.to_string().into_bytes())
        }
    })
}

/// A name as one part of a path, on any system: slashes are `~`, as in MLflow's own names of images.
pub(super) fn part(name: &str) -> String {
    let part = names::allowed(name, false).replace('/', "~").replace(':', "_");
    if part.len() <= LONGEST {
        return part;
    }
    // Long names often differ in their ends.
    let end = part.floor_char_boundary(LONGEST - 17);
    format!("{}.{:016x}", &part[..end], fnv(name.as_bytes()))
}

/// A picture that is small, unless it is so already: each pixel is the mean of those in its place.
fn small(image: &Image) -> Fallible<Option<Image>> {
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    let longest = width.max(height);
    if longest <= SMALL {
        return Ok(None);
    }
    let [w, h] = [width, height].map(|side| (side * SMALL / longest).max(1));
    let mut pixels = Vec::with_capacity(w * h * channels);
    for y in 0..h {
        let rows = y * height / h..(y + 1) * height / h;
        for x in 0..w {
            let columns = x * width / w..(x + 1) * width / w;
            let count = (rows.len() * columns.len()) as u64;
            for channel in 0..channels {
                let of = |row: usize| columns.clone().map(move |column| (row * width + column) * channels + channel);
                let sum: u64 = rows.clone().flat_map(of).map(|at| u64::from(image.pixels()[at])).sum();
                pixels.push(((sum + count / 2) / count) as u8);
            }
        }
    }
    let make = match channels {
        1 => Image::gray,
        3 => Image::rgb,
        _ => Image::rgba,
    };
    make(w, h, pixels).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Histogram, Kind, Table};

    fn paths(index: u64, name: &str, media: &Media) -> Vec<Payload> {
        let names = [Arc::from(name)];
        let (epoch, seconds, layout) = (0, 0.0, 0);
        let (kind, values) = (Kind::Media, &[][..]);
        let entry = Entry {
            kind,
            index,
            epoch,
            step: 12,
            seconds,
            time: 1.5,
            layout,
            names: &names,
            values,
            media: Some(media),
        };
        payloads(&entry, media).unwrap()
    }

    #[test]
    fn an_image_has_the_names_that_the_page_takes_apart() {
        let image = Media::Image(Image::gray(2, 1, vec![0, 255]).unwrap().caption("two"));
        let all = paths(3, "valid/so:me+%", &image);
        assert_eq!(all.len(), 3);
        let parts: Vec<_> = all[0].0.strip_suffix(".png").unwrap().split('+').collect();
        let [key, "step", "12", "timestamp", "1500", own] = parts[..] else { unreachable!("{parts:?}") };
        assert_eq!((key, own.len()), ("images/valid~so_me__", 16));
        assert_eq!(all[1].0, all[0].0.replace(".png", "+compressed.png"));
        assert_eq!(all[0].1, all[1].1);
        assert!(all[2].0.starts_with("captions/valid~so_me__/00000012-") && all[2].1 == b"two");
        assert_eq!(all, paths(3, "valid/so:me+%", &image), "written again, it is the same");
        assert_ne!(all[0].0, paths(4, "valid/so:me+%", &image)[0].0);
    }

    #[test]
    fn a_large_image_has_a_small_one_whose_pixels_are_means() {
        let pixels: Vec<u8> =
            (0..512 * 4).flat_map(|i: usize| [(i % 2 * 200) as u8, 7, (i / 512) as u8 * 50]).collect();
        let small = small(&Image::rgb(512, 4, pixels).unwrap()).unwrap().unwrap();
        assert_eq!((small.width(), small.height()), (256, 2));
        assert_eq!(small.pixels()[..6], [100, 7, 25, 100, 7, 25]);
        assert_eq!(small.pixels()[256 * 3..][..3], [100, 7, 125]);
        let thin = Image::gray(1, 3000, vec![9; 3000]).unwrap();
        assert_eq!(super::small(&thin).unwrap().unwrap(), Image::gray(1, 256, vec![9; 256]).unwrap());
    }

    #[test]
    fn others_are_what_people_and_the_page_read() {
        let mut table = Table::new(["a", "b"]);
        table.row([1.into(), "x,y".into()]).unwrap();
        let table = paths(0, "t", &Media::Table(table)).remove(0);
        assert!(table.0.starts_with("tables/t/00000012-") && table.0.ends_with(".csv"), "{}", table.0);
        assert_eq!(table.1, b"a,b\r\n1,\"x,y\"\r\n");
        let histogram = Histogram::with_bins(vec![0.0, 0.5], vec![3.0]).unwrap();
        let (path, bytes) = paths(0, "w/x", &Media::Histogram(histogram)).remove(0);
        assert!(path.starts_with("histograms/w~x/00000012-") && path.ends_with(".json"), "{path}");
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value, json!({"name": "w/x", "step": 12, "edges": [0.0, 0.5], "counts": [3.0]}));
    }

    proptest! {
        /// On every system, and for every server.
        #[test]
        fn every_name_is_one_part_of_a_path(name in ".{0,300}") {
            let part = part(&name);
            prop_assert!(!part.is_empty() && part.len() <= LONGEST, "{part}");
            prop_assert!(!["/", "\\", "%", "#", "+", ":", "*", "?", "\""].iter().any(|own| part.contains(own)), "{part}");
            prop_assert!(part != "." && part != "..");
        }
    }
}
