//! Compiles the shims against the LibTorch that torch-sys found, after a look at its version.
#![allow(clippy::print_stdout)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What `tch` is made for: another LibTorch has other functions under the same names.
const VERSION: (&str, &str) = ("2", "13");

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    for sources in ["gloo", "src"] {
        println!("cargo::rerun-if-changed={sources}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("cargo::error={e}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB").ok_or("torch-sys does not say where LibTorch is")?;
    let lib = PathBuf::from(lib);
    let include = lib.parent().ok_or("LibTorch's folder of libraries has none above it")?.join("include");
    check_version(&include)?;

    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let nccl = env::var_os("CARGO_FEATURE_NCCL").is_some();
    let mut shims = cc::Build::new();
    shims
        .cpp(true)
        .std("c++17")
        .pic(true)
        .warnings(false)
        .include("gloo")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", &*abi)
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .files(["src/batch_norm.cpp", "src/c10d.cpp", "src/gradient_sums.cpp", "src/shim.cpp"]);
    if nccl {
        shims.define("USE_C10D_NCCL", None).includes(cuda_headers(&lib)?).file("src/nccl.cpp");
    }
    shims.try_compile("zae_tch_shim").map_err(|e| e.to_string())?;
    if nccl {
        println!("cargo::rustc-link-lib=dylib=torch_cuda");
        println!("cargo::rustc-link-lib=dylib=c10_cuda");
    }

    println!("cargo::metadata=LIBTORCH_LIB={}", lib.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    lend_to_cargo(&lib)
}

/// Where the headers of CUDA and NCCL are: in the folders that are named, beside LibTorch as pip has them, or where CUDA's
/// installer puts them.
fn cuda_headers(lib: &Path) -> Result<Vec<PathBuf>, String> {
    let mut folders = Vec::new();
    for variable in ["NCCL_HOME", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
        folders.extend(env::var_os(variable).map(|folder| PathBuf::from(folder).join("include")));
    }
    let beside = lib.ancestors().nth(2).unwrap_or(lib).join("nvidia");
    folders.extend(["nccl", "cu13"].map(|name| beside.join(name).join("include")));
    folders.push("/usr/local/cuda/include".into());
    for (header, package) in [("nccl.h", "NCCL_HOME"), ("cuda_runtime_api.h", "CUDA_HOME")] {
        let is_there = folders.iter().any(|folder| folder.join(header).exists());
        if !is_there && !Path::new("/usr/include").join(header).exists() {
            return Err(format!(
                "the feature `nccl` needs `{header}`: set {package} to the folder with `include/{header}` in it"
            ));
        }
    }
    Ok(folders.into_iter().filter(|folder| folder.exists()).collect())
}

/// Programs that Cargo runs look for libraries where it found some, but only within its target directory: so LibTorch's folder
/// gets a name there. Unlike an rpath this reaches dependents, and examples in documentation.
#[cfg(unix)]
fn lend_to_cargo(lib: &Path) -> Result<(), String> {
    let name = PathBuf::from(env::var_os("OUT_DIR").ok_or("Cargo names no OUT_DIR")?).join("libtorch");
    let _ = fs::remove_file(&name);
    std::os::unix::fs::symlink(lib, &name).map_err(|e| format!("cannot link `{}`: {e}", name.display()))?;
    println!("cargo::rustc-link-search=native={}", name.display());
    Ok(())
}

#[cfg(not(unix))]
fn lend_to_cargo(_: &Path) -> Result<(), String> {
    Ok(())
}

fn check_version(include: &Path) -> Result<(), String> {
    let fix = "`cargo xtask libtorch` installs it; for another installation set LIBTORCH to its folder";
    let header = include.join("torch/headeronly/version.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header)
        .map_err(|e| format!("no LibTorch 2.13: cannot read `{}` ({e}). {fix}", header.display()))?;
    let define = |name| {
        let line = text.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        line.map_or("?", str::trim)
    };
    let found = (define("TORCH_VERSION_MAJOR"), define("TORCH_VERSION_MINOR"));
    if found == VERSION {
        return Ok(());
    }
    let folder = include.parent().unwrap_or(include);
    Err(format!("`{}` is LibTorch {}.{}, and 2.13 is needed. {fix}", folder.display(), found.0, found.1))
}
