//! Where in a git repository a program is run. Read from git's own files: a process that is forked holds for a moment what this
//! one has open, such as the lock of its checkpoints, and may hang.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where in a git repository the program is run, for loggers and reports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Git {
    /// The commit.
    pub commit: String,
    /// The branch; empty if it is on none.
    pub branch: String,
    /// The address of the remote `origin`, without a name and a password, which some put there.
    pub remote: Option<String>,
}

impl Git {
    /// That of the working directory, if it is in a repository that has a commit.
    #[must_use]
    pub fn here() -> Option<Self> {
        Self::find(&std::env::current_dir().ok()?)
    }

    /// The repository that a folder is in, if it has a commit.
    fn find(folder: &Path) -> Option<Self> {
        let own = folder.ancestors().find_map(|folder| own_folder(&folder.join(".git")))?;
        // A work tree beside the first one shares branches and settings with it.
        let common = read(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path));
        let head = read(&own.join("HEAD"))?;
        let (commit, branch) = match head.strip_prefix("ref: ") {
            Some(name) => {
                let commit =
                    read(&own.join(name)).or_else(|| read(&common.join(name))).or_else(|| packed(&common, name))?;
                (commit, name.strip_prefix("refs/heads/").unwrap_or(name).to_owned())
            }
            None => (head, String::new()),
        };
        let is_commit = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let config = read(&common.join("config")).unwrap_or_default();
        is_commit.then(|| Self { commit, branch, remote: origin(&config).map(|url| without_login(&url)) })
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

fn origin(config: &str) -> Option<String> {
    let mut lines = config.lines().map(str::trim).skip_while(|line| *line != "[remote \"origin\"]").skip(1);
    let url = |line: &str| line.strip_prefix("url")?.trim_start().strip_prefix('=').map(|url| url.trim().to_owned());
    lines.by_ref().take_while(|line| !line.starts_with('[')).find_map(url)
}

fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_password_in_the_address_of_a_repository_is_not_told() {
        let url = "https://me:ghp_secret@example.com/team/repo.git";
        assert_eq!(without_login(url), "https://example.com/team/repo.git");
        assert_eq!(without_login("git@example.com:team/repo.git"), "git@example.com:team/repo.git");
    }

    #[test]
    fn a_commit_is_found_wherever_git_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let (git, deep) = (dir.path().join(".git"), dir.path().join("a/b"));
        fs::create_dir_all(git.join("refs/heads/x")).unwrap();
        fs::create_dir_all(&deep).unwrap();
        let commit = || Git::find(&deep).map(|git| git.commit);
        let branch = || Git::find(&deep).map(|git| git.branch);
        assert_eq!(commit(), None);
        fs::write(git.join("HEAD"), format!("{COMMIT}\n")).unwrap();
        assert_eq!((commit().unwrap().as_str(), branch().unwrap().as_str()), (COMMIT, ""));
        fs::write(git.join("HEAD"), "ref: refs/heads/x/main\n").unwrap();
        assert_eq!(commit(), None);
        fs::write(
            git.join("packed-refs"),
            format!("# pack\n{}1 refs/heads/main\n{COMMIT} refs/heads/x/main\n", &COMMIT[1..]),
        )
        .unwrap();
        assert_eq!((commit().unwrap().as_str(), branch().unwrap().as_str()), (COMMIT, "x/main"));
        fs::write(git.join("refs/heads/x/main"), "no commit").unwrap();
        assert_eq!(commit(), None);
        fs::write(git.join("refs/heads/x/main"), COMMIT.replace('0', "1")).unwrap();
        assert_eq!(commit().unwrap(), COMMIT.replace('0', "1"));
        fs::write(git.join("config"), "[core]\n\turl = no\n[remote \"origin\"]\n\turl = https://a@b.c/d\n[x]\n")
            .unwrap();
        assert_eq!(Git::find(&deep).unwrap().remote.unwrap(), "https://b.c/d");
        // A second work tree.
        let (own, second) = (git.join("worktrees/w"), dir.path().join("w"));
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(&second).unwrap();
        fs::write(second.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
        fs::write(own.join("HEAD"), "ref: refs/heads/x/main\n").unwrap();
        fs::write(own.join("commondir"), "../..\n").unwrap();
        let second = Git::find(&second).unwrap();
        assert_eq!((second.commit, second.branch.as_str()), (COMMIT.replace('0', "1"), "x/main"));
    }
}
