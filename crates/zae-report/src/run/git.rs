//! The commit that a program is run at. Read from git's own files, for a process that is started holds for a moment what this one
//! has open, and may hang.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A repository's commit, and its branch if it is on one.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Git {
    pub(super) commit: String,
    pub(super) branch: String,
}

impl Git {
    /// That of the working directory.
    pub(super) fn here() -> Option<Self> {
        Self::find(&std::env::current_dir().ok()?)
    }

    /// That of the repository that a folder is in.
    fn find(folder: &Path) -> Option<Self> {
        let own = folder.ancestors().find_map(|folder| own_folder(&folder.join(".git")))?;
        // A work tree beside the first one shares branches with it.
        let common = read(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path));
        let head = read(&own.join("HEAD"))?;
        let Some(name) = head.strip_prefix("ref: ") else { return Self { commit: head, ..Self::default() }.checked() };
        let commit = read(&own.join(name)).or_else(|| read(&common.join(name))).or_else(|| packed(&common, name))?;
        let branch = name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
        Self { commit, branch }.checked()
    }

    fn checked(self) -> Option<Self> {
        let is_commit = self.commit.len() >= 40 && self.commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_commit.then_some(self)
    }
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn own_folder(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let elsewhere = read(path)?;
    Some(path.parent()?.join(elsewhere.strip_prefix("gitdir: ")?))
}

/// Branches that have not changed for long are in one file.
fn packed(common: &Path, name: &str) -> Option<String> {
    let all = read(&common.join("packed-refs"))?;
    all.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_commit_is_found_wherever_git_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let (git, deep) = (dir.path().join(".git"), dir.path().join("a/b"));
        fs::create_dir_all(git.join("refs/heads/x")).unwrap();
        fs::create_dir_all(&deep).unwrap();
        let found = |folder: &Path| Git::find(folder).map(|git| (git.commit, git.branch));
        let expected = |branch: &str| Some((COMMIT.to_owned(), branch.to_owned()));
        assert_eq!(found(&deep), None);
        fs::write(git.join("HEAD"), format!("{COMMIT}\n")).unwrap();
        assert_eq!(found(&deep), expected(""));
        fs::write(git.join("HEAD"), "ref: refs/heads/x/main\n").unwrap();
        assert_eq!(found(&deep), None);
        fs::write(git.join("packed-refs"), format!("# pack\n{COMMIT} refs/heads/x/main\n")).unwrap();
        assert_eq!(found(&deep), expected("x/main"));
        fs::write(git.join("refs/heads/x/main"), "no commit").unwrap();
        assert_eq!(found(&deep), None);
        fs::write(git.join("refs/heads/x/main"), COMMIT).unwrap();
        // A second work tree.
        let (own, second) = (git.join("worktrees/w"), dir.path().join("w"));
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(&second).unwrap();
        fs::write(second.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
        fs::write(own.join("HEAD"), "ref: refs/heads/x/main\n").unwrap();
        fs::write(own.join("commondir"), "../..\n").unwrap();
        assert_eq!(found(&second), expected("x/main"));
    }
}
