#![allow(clippy::unwrap_used)]

use zae_core::{
    engine::Visit,
    testing::{ThreadRank, null::Null, thread_ranks},
};

use super::*;

/// An engine with a library of its own between processes.
#[derive(Default)]
struct Connected(Option<World>);

impl Engine for Connected {
    fn name(&self) -> &str {
        "connected"
    }
    fn gradients(&mut self, _: Visit<'_>) -> Fallible {
        Ok(())
    }
    fn parameters(&mut self, _: Visit<'_>) -> Fallible {
        Ok(())
    }
    fn process_group(&mut self, world: &World) -> Fallible<Option<Arc<dyn ProcessGroup>>> {
        self.0 = Some(world.clone());
        Ok(Some(ranks(world.world_size).swap_remove(world.rank)))
    }
}

fn ranks(world_size: usize) -> Vec<Arc<ThreadRank>> {
    thread_ranks(world_size, Duration::from_secs(60))
}

fn started(launcher: Launcher, world_size: usize, master: bool) -> DataParallel {
    let mut world = World::new(world_size - 1, world_size);
    world.master = master.then(|| ("node1".into(), 29500));
    DataParallel::of(Processes::Launched(launcher, world))
}

fn error(mut add_on: DataParallel, engine: &mut dyn Engine) -> String {
    add_on.parallel(engine).err().unwrap().to_string()
}

#[test]
fn one_process_needs_no_group() {
    for (launcher, master) in [(Launcher::Alone, false), (Launcher::Torchrun, true), (Launcher::OpenMpi, true)] {
        let mut engine = Connected::default();
        let mut add_on = started(launcher, 1, master).reduction(Reduction::Reproducible).check_every(5);
        let parallel = add_on.parallel(&mut engine).unwrap().unwrap();
        assert!(parallel.group.is_none() && engine.0.is_none());
        assert_eq!((parallel.reduction, parallel.check_every), (Reduction::Reproducible, 5));
    }
    let only = ranks(1).swap_remove(0);
    assert!(DataParallel::with(only).parallel(&mut Null::default()).unwrap().unwrap().group.is_none());
}

#[test]
fn the_engines_own_library_comes_first_where_rank_0_can_be_found() {
    for launcher in [Launcher::Torchrun, Launcher::OpenMpi, Launcher::Mpich, Launcher::Slurm] {
        let mut engine = Connected::default();
        let mut add_on = started(launcher, 2, true).timeout(Duration::from_secs(7));
        let group = add_on.parallel(&mut engine).unwrap().unwrap().group.unwrap();
        assert_eq!((group.rank(), group.world_size()), (1, 2));
        assert_eq!(engine.0.unwrap().timeout, Duration::from_secs(7));
    }
}

#[test]
fn a_given_group_is_taken() {
    let mut add_on = DataParallel::with(ranks(2).swap_remove(1)).timeout(Duration::from_secs(7));
    assert!(add_on.world().is_none());
    assert_eq!(add_on.parallel(&mut Null::default()).unwrap().unwrap().group.unwrap().rank(), 1);
}

#[test]
fn an_error_names_the_ways_out() {
    assert_eq!(
        error(started(Launcher::Torchrun, 2, true), &mut Null::default()),
        "the engine `null` cannot connect the 2 processes of torchrun: start them with `mpirun` and build with the feature `mpi`, or use the LibTorch engine"
    );
    #[cfg(not(feature = "mpi"))]
    assert_eq!(
        error(started(Launcher::OpenMpi, 2, false), &mut Connected::default()),
        "mpirun of Open MPI has started this program as rank 1 of 2, but it was built without the feature `mpi`: build it with `--features mpi`, or use the LibTorch engine and set MASTER_ADDR and MASTER_PORT"
    );
}
