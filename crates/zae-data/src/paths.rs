//! [`Paths`]: one file or several; [`files_in`].

use std::path::{Path, PathBuf};

use zae_core::error::Fallible;

use crate::files::cannot_read;

/// One path, or a list of them: what readers of files take.
pub trait Paths {
    /// The paths, in the order in which their samples follow each other.
    fn into_paths(self) -> Vec<PathBuf>;
}

macro_rules! one {
    ($($kind:ty)*) => { $(
        impl Paths for $kind {
            fn into_paths(self) -> Vec<PathBuf> {
                vec![PathBuf::from(self)]
            }
        }
    )* };
}
one! { &str String &String &Path PathBuf &PathBuf }

impl<P: Into<PathBuf>> Paths for Vec<P> {
    fn into_paths(self) -> Vec<PathBuf> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<P: Into<PathBuf>, const N: usize> Paths for [P; N] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<P: AsRef<Path>> Paths for &[P] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.iter().map(|path| path.as_ref().to_owned()).collect()
    }
}

/// The files of a folder whose names end in `.extension`, sorted by name: the shards of a data set.
///
/// ```no_run
/// let shards = zae_data::files_in("corpus", "jsonl")?;
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
///
/// # Errors
/// When the folder cannot be read, or has no such file.
pub fn files_in(folder: impl AsRef<Path>, extension: &str) -> Fallible<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let ending = format!(".{}", extension.trim_start_matches('.'));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| cannot_read(folder, error))? {
        let path = entry.map_err(|error| cannot_read(folder, error))?.path();
        let fits = path.file_name().is_some_and(|name| {
            let name = name.as_encoded_bytes();
            name.len() > ending.len() && name.ends_with(ending.as_bytes())
        });
        if fits && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(format!(
            "`{}` has no file `*{ending}`: look at the folder's name and the ending",
            folder.display()
        )
        .into());
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_path_or_several() {
        let two = vec![PathBuf::from("a"), PathBuf::from("b")];
        assert_eq!("a".into_paths(), two[..1]);
        assert_eq!(["a", "b"].into_paths(), two);
        assert_eq!((&two[..]).into_paths(), two);
        assert_eq!(two.clone().into_paths(), two);
    }

    #[test]
    fn the_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar", "a.tar.gz", ".tar", "c.TAR"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder.tar")).unwrap();
        let expected = ["a.tar", "b.tar"].map(|name| folder.path().join(name));
        assert_eq!(files_in(folder.path(), "tar").unwrap(), expected);
        assert_eq!(files_in(folder.path(), ".tar").unwrap(), expected);
        let error = files_in(folder.path(), "jsonl").unwrap_err().to_string();
        assert!(error.ends_with("has no file `*.jsonl`: look at the folder's name and the ending"), "{error}");
        assert!(files_in(folder.path().join("none"), "tar").unwrap_err().to_string().starts_with("cannot read `"));
    }
}
