//! What ranks do with sums of numbers that come one after another.
// Counting what is allocated is the allocator's.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};

use zae_core::{
    error::Fallible,
    process_group::{ProcessGroup, Sum},
};
use zae_parallel::MpiGroup;

use super::{raise, touch, wait_for};

/// How many numbers MPI sums at a time.
const CHUNK: usize = 1 << 20;

#[global_allocator]
static LARGE: Counting = Counting(AtomicUsize::new(0));

/// How often there was a need for memory of a chunk.
struct Counting(AtomicUsize);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= CHUNK {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as this function's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as this function's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Neither exact nor in order of size: which of them are added first shows in the last bits.
fn numbers(rank: usize, len: usize) -> Vec<f32> {
    let number = |i: usize| (((i * 7919 + rank * 104_729) % 65_537) as f32 - 32_768.0) / 3.0;
    (0..len).map(|i| if i % 97 == 0 { -0.0 } else { number(i) }).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn give(sum: &mut dyn Sum, own: &[f32], piece: usize) -> Fallible {
    own.chunks(piece).try_for_each(|part| sum.give(part))
}

fn take(sum: &mut dyn Sum, into: &mut [f32], piece: usize) -> Fallible {
    into.chunks_mut(piece).try_for_each(|part| sum.take(part))
}

/// The bits are those of each chunk for itself, however ranks cut what they give and take.
pub(super) fn stream(group: &MpiGroup) -> Fallible {
    let rank = group.rank();
    let mut memory = Vec::new();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 3, 2] {
        let own = numbers(rank, len);
        let mut apart = own.clone();
        apart.chunks_mut(CHUNK).try_for_each(|chunk| group.all_reduce_sum(chunk))?;
        let mut at_once = own.clone();
        group.all_reduce_sum(&mut at_once)?;
        assert!(bits(&at_once) == bits(&apart), "{len} at once");
        for piece in [400_009 + rank, CHUNK, usize::MAX] {
            let mut taken = vec![f32::NAN; len];
            let mut sum = group.begin_sum(&mut memory)?;
            give(&mut *sum, &own, piece)?;
            take(&mut *sum, &mut taken, piece / (rank + 1))?;
            sum.end()?;
            assert!(bits(&taken) == bits(&apart), "{len} in pieces of {piece}");
        }
        assert!(group.all_gather(&[rank as u8])?.iter().enumerate().all(|(rank, theirs)| *theirs == [rank as u8]));
    }
    assert!(memory.capacity() == 0);
    warm(group)?;
    back(group)?;
    turns(group)
}

/// What is summed is taken before the last number has come: that of rank 1 comes when all others have taken a chunk.
fn back(group: &MpiGroup) -> Fallible {
    let rank = group.rank();
    let (mut memory, mut own) = (Vec::new(), numbers(rank, 5 * CHUNK / 2));
    let mut sum = group.begin_sum(&mut memory)?;
    if rank == 1 {
        sum.give(&own[..2 * CHUNK])?;
        wait_for(&(0..group.world_size()).filter(|rank| *rank != 1).collect::<Vec<_>>())?;
        sum.give(&own[2 * CHUNK..])?;
    } else {
        sum.give(&own)?;
    }
    let (first, last) = own.split_at_mut(CHUNK);
    sum.take(first)?;
    touch(rank)?;
    sum.take(last)?;
    sum.end()
}

/// From the second sum on, there is memory.
fn warm(group: &MpiGroup) -> Fallible {
    let own = numbers(group.rank(), 4 * CHUNK + 3);
    let mut taken = own.clone();
    let mut before = 0;
    for i in 0..4 {
        let mut memory = Vec::new();
        let mut sum = group.begin_sum(&mut memory)?;
        give(&mut *sum, &own, 300_007)?;
        take(&mut *sum, &mut taken, 400_009)?;
        sum.end()?;
        drop(sum);
        let now = LARGE.0.load(Ordering::Relaxed);
        assert!(i == 0 || now == before, "sum {i} has taken memory {} times", now - before);
        before = now;
    }
    Ok(())
}

/// While a sum goes on, its own thread is told that it cannot make another call, and other threads wait for its end.
fn turns(group: &MpiGroup) -> Fallible {
    let own = numbers(group.rank(), CHUNK + 1);
    let (mut memory, mut taken) = (Vec::new(), own.clone());
    std::thread::scope(|scope| {
        let mut sum = group.begin_sum(&mut memory)?;
        sum.give(&own[..CHUNK])?;
        let beside = scope.spawn(|| group.sum(&mut [1.0]).is_ok());
        let error = group.all_gather(&[1]).unwrap_err().to_string();
        assert_eq!(error, "this thread has begun a sum that is not at its end: it would wait for itself");
        sum.give(&own[CHUNK..])?;
        sum.take(&mut taken)?;
        assert!(sum.give(&[1.0]).is_err() && sum.take(&mut [1.0]).is_err());
        sum.end()?;
        drop(sum);
        assert!(beside.join().unwrap());
        Ok(())
    })
}

/// What becomes of a sum that rank 1 does not bring to its end: it has given a chunk and a half.
pub(super) fn half(group: &MpiGroup, then: &str) -> Fallible {
    let own = numbers(group.rank(), 5 * CHUNK / 2);
    let (mut memory, mut taken) = (Vec::new(), own.clone());
    // All have made a sum before.
    group.all_reduce_sum(&mut taken)?;
    if group.rank() != 1 {
        let mut sum = group.begin_sum(&mut memory)?;
        let done = give(&mut *sum, &own, 300_007).and_then(|()| take(&mut *sum, &mut taken, 400_009));
        let done = done.and_then(|()| sum.end());
        touch(group.rank())?;
        // Whoever goes on all the same waits for nobody.
        for _ in 0..9 {
            assert!(sum.take(&mut taken).is_err() && sum.end().is_err());
        }
        return done;
    }
    let mut sum = group.begin_sum(&mut memory)?;
    give(&mut *sum, &own[..3 * CHUNK / 2], 300_007)?;
    match then {
        "dropped" => drop(sum),
        "panicked" => {
            let panics = AssertUnwindSafe(move || {
                let _left = sum;
                panic!("a bug")
            });
            let _ = catch_unwind::<_, ()>(panics);
        }
        "aborted" => {
            group.abort("out of paper");
            drop(sum);
        }
        "killed" => raise(libc::SIGKILL),
        "stopped" => raise(libc::SIGSTOP),
        "ended" => std::process::exit(0),
        _ => {
            // Late: the others have given up.
            wait_for(&[0, 2])?;
            give(&mut *sum, &own[3 * CHUNK / 2..], 300_007)?;
            return take(&mut *sum, &mut taken, 400_009);
        }
    }
    // The answers that are still to come are nobody's.
    group.all_gather(&[1]).map(drop)
}

/// One rank gives a number more than the others, where a chunk ends.
pub(super) fn longer(group: &MpiGroup) -> Fallible {
    let own = numbers(0, CHUNK + usize::from(group.rank() == 1));
    let (mut memory, mut taken) = (Vec::new(), own.clone());
    let mut sum = group.begin_sum(&mut memory)?;
    sum.give(&own)?;
    sum.take(&mut taken)?;
    sum.end()
}

/// Of all ranks but one, a whole chunk is on its way before the next number comes. The one makes another call, and so they hear
/// of each other.
pub(super) fn early(group: &MpiGroup) -> Fallible {
    if group.rank() == 1 {
        let done = group.all_gather(&[1]).map(drop);
        touch(1)?;
        return done;
    }
    let (mut memory, mut own) = (Vec::new(), numbers(group.rank(), CHUNK + 1));
    let mut sum = group.begin_sum(&mut memory)?;
    sum.give(&own[..CHUNK])?;
    wait_for(&[1])?;
    sum.give(&own[CHUNK..])?;
    sum.take(&mut own)
}
