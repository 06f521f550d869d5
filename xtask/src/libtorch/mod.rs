//! LibTorch in `.libtorch`, from the wheels of PyTorch. The digests in `cpu.txt` and `cuda.txt` say exactly which.
//!
//! `pip` fetches them: it knows the machine's mirrors and proxies, checks digests, shows progress, and goes on where a
//! connection broke.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::python;

const VERSION: &str = "2.13.0";
const CPU: &str = include_str!("cpu.txt");
const CUDA: &str = include_str!("cuda.txt");
const UNPACK: &str = include_str!("unpack.py");

/// What `.cargo/config.toml` includes when it is there.
const CARGO: &str = "[env]\nLIBTORCH = { value = \".libtorch/torch\", relative = true }\n";

/// The LibTorch of the user's environment: not what Cargo was told by the files of this workspace, and passes on.
pub(crate) fn own() -> Option<PathBuf> {
    let ours = [".libtorch/torch", ".cargo/no-libtorch"].map(|path| crate::root().join(path));
    env::var_os("LIBTORCH").map(PathBuf::from).filter(|own| !ours.contains(own))
}

/// Puts LibTorch where the workspace looks for it, unless it is there, or `LIBTORCH` names another. With `cuda`, also what
/// it needs on a GPU.
pub(crate) fn install(cuda: bool) -> Result<(), String> {
    if let Some(own) = own() {
        return look_at(&own);
    }
    let root = crate::root();
    let folder = root.join(".libtorch");
    let stamp = Path::new("installed.txt");
    let installed = fs::read_to_string(folder.join(stamp)).unwrap_or_default();
    if installed == contents(true) || installed == contents(cuda) {
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return Err(format!(
            "LibTorch {VERSION} can be installed on Linux only (x86_64, aarch64): elsewhere, set LIBTORCH to the folder of an \
             installation, with `lib` and `include` in it"
        ));
    }

    let (device, space) = if cuda { ("cuda", "8 GB") } else { ("cpu", "1.5 GB") };
    eprintln!("\n==> LibTorch {VERSION} ({device}), once: some minutes, {space} of disk until it is there");
    let work = root.join("target/libtorch");
    let wheels = download(&work, cuda)?;
    let new = root.join(".libtorch.new");
    remove(&new)?;
    let unpack = work.join("unpack.py");
    write(&unpack, UNPACK)?;
    eprintln!("unpacking");
    let unpacked =
        Command::new(work.join("python/bin/python")).arg(&unpack).arg(&new).arg(device).args(wheels).status();
    if !unpacked.is_ok_and(|status| status.success()) {
        return Err(format!("cannot unpack LibTorch into `{}`: see above; it needs {space} of disk", new.display()));
    }
    // torch-sys compares this with the version that it is made for.
    write(&new.join("torch/build-version"), VERSION)?;
    if !cuda {
        // This library is empty but for its wish for CUDA's, which GNU's linker would hand on to every program.
        write(&new.join("torch/lib/libtorch.so"), "INPUT(libtorch_cpu.so libc10.so)\n")?;
    }
    write(&new.join("cargo.toml"), CARGO)?;
    // Whole or absent: the stamp is in it before it has its name.
    write(&new.join(stamp), &contents(cuda))?;
    remove(&folder)?;
    fs::rename(&new, &folder).map_err(|e| format!("cannot rename `{}`: {e}", new.display()))?;
    remove(&work)
}

/// What an installation is made from.
fn contents(cuda: bool) -> String {
    [CPU, if cuda { CUDA } else { "" }, UNPACK, CARGO].concat()
}

/// Has `pip` fetch the wheels that are not there yet.
fn download(work: &Path, cuda: bool) -> Result<Vec<PathBuf>, String> {
    let python = python::environment(&work.join("python"))?;
    let fix = "look at the message above. It needs network, disk, and Python 3.9 or later; started again it goes on. Without \
               a network, set LIBTORCH to the folder of an installation, with `lib` and `include` in it";
    // The first that goes on where a connection broke.
    let pip = ["-m", "pip", "--disable-pip-version-check"];
    python::run(Command::new(&python).args(pip).args(["install", "--quiet", "pip==25.3"]), fix)?;

    let lists = [("cpu.txt", CPU), ("cuda.txt", CUDA)];
    let mut command = Command::new(&python);
    // The wheels for one Python, whichever runs this: of Python nothing is kept.
    command.args(pip).args([
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--python-version=3.11",
    ]);
    for (name, list) in &lists[..if cuda { 2 } else { 1 }] {
        write(&work.join(name), list)?;
        command.arg("--requirement").arg(work.join(name));
    }
    let folder = work.join(VERSION);
    // Beside where it goes, for elsewhere there may be no room.
    python::run(command.arg("--dest").arg(&folder).env("TMPDIR", work), fix)?;

    let cannot = |e: io::Error| format!("cannot list `{}`: {e}", folder.display());
    let wheels = fs::read_dir(&folder).map_err(cannot)?.map(|entry| entry.map(|entry| entry.path()));
    wheels.collect::<io::Result<_>>().map_err(cannot)
}

/// Whether an installation of the user's is what is needed.
fn look_at(own: &Path) -> Result<(), String> {
    let header = own.join("include/torch/headeronly/version.h");
    let fix = format!("it needs LibTorch 2.13: set another, or none, and `cargo xtask libtorch` installs {VERSION}");
    match fs::read_to_string(&header) {
        Ok(text) if text.contains("\"2.13.") => {
            eprintln!("LIBTORCH is `{}`: nothing to install", own.display());
            Ok(())
        }
        Ok(_) => Err(format!("LIBTORCH is `{}`, which is another version: {fix}", own.display())),
        Err(e) => {
            Err(format!("LIBTORCH is `{}`, but `{}` cannot be read ({e}): {fix}", own.display(), header.display()))
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("cannot write `{}`: {e}", path.display()))
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(format!("cannot remove `{}`: {e}", folder.display())),
        _ => Ok(()),
    }
}
