//! The four files of MNIST: from a folder, or downloaded into it.
#![allow(clippy::print_stderr)]

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, copy},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use ureq::{Agent, http::StatusCode};
use zae_engine::{data::Idx, error::Fallible};

const MIRRORS: [&str; 2] =
    ["https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"];

/// SHA-256 of the published files, uncompressed: copies differ in how they are gzipped.
const CHECKSUMS: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
];

/// Reads `name` or `name.gz` in `folder`. If neither is there, downloads it first.
pub(crate) fn file(folder: &Path, name: &str, mirror: Option<&str>) -> Fallible<Idx> {
    let checksum = CHECKSUMS.iter().find(|(known, _)| *known == name).map_or("", |(_, sum)| *sum);
    let mirrors = mirror.map_or(MIRRORS.to_vec(), |mirror| vec![mirror]);
    Idx::read(obtain(folder, name, checksum, &mirrors)?)
}

/// The path of `name` or `name.gz` in `folder`, downloaded if neither is there: a download that was cut goes on where it
/// was, and what does not have the published content is not kept.
pub(crate) fn obtain(folder: &Path, name: &str, checksum: &str, mirrors: &[&str]) -> Fallible<PathBuf> {
    let zipped = folder.join(format!("{name}.gz"));
    if let Some(path) = [zipped.clone(), folder.join(name)].into_iter().find(|path| path.exists()) {
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(|e| format!("the folder `{}` cannot be made: {e}", folder.display()))?;
    let part = folder.join(format!("{name}.gz.part"));
    let mut problems = Vec::new();
    for mirror in mirrors {
        let url = format!("{mirror}/{name}.gz");
        eprintln!("downloading {url}");
        match fetch(&url, &part).and_then(|()| verify(&part, checksum)) {
            Ok(()) => {
                fs::rename(&part, &zipped)?;
                return Ok(zipped);
            }
            Err(e) => problems.push(format!("  {url}: {e}")),
        }
    }
    Err(format!(
        "`{name}` is not in `{}` and could not be downloaded:\n{}\nStarted again, a download goes on where it was. Without a \
         network, put the files there yourself, give their folder with `--data DIR`, or run the example `digits`, whose \
         data are built in",
        folder.display(),
        problems.join("\n")
    )
    .into())
}

/// Appends what is missing of `url` to `part`.
fn fetch(url: &str, part: &Path) -> Fallible {
    let have = fs::metadata(part).map_or(0, |meta| meta.len());
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_global(Some(Duration::from_secs(1800)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let response = request.call()?;
    let mut file = match response.status() {
        StatusCode::PARTIAL_CONTENT => OpenOptions::new().append(true).open(part)?,
        // The server has no ranges: from the start.
        StatusCode::OK => File::create(part)?,
        // Nothing is missing.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
        status => return Err(format!("the server says {status}").into()),
    };
    let announced = response.headers().get("content-length").and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
    let got = copy(&mut response.into_body().into_reader(), &mut file)?;
    file.sync_all()?;
    if announced.is_some_and(|announced| announced != got) {
        return Err(format!("the connection was cut after {got} bytes").into());
    }
    Ok(())
}

/// Looks at the content; removes the file if it is another one.
fn verify(part: &Path, checksum: &str) -> Fallible {
    let mut hash = Sha256::new();
    let read = hash_all(MultiGzDecoder::new(File::open(part)?), &mut hash);
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if read.is_ok() && found == checksum {
        return Ok(());
    }
    fs::remove_file(part)?;
    Err("what came is not the published file, and was removed".into())
}

fn hash_all(mut content: impl Read, hash: &mut Sha256) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            n => hash.update(&buffer[..n]),
        }
    }
}
