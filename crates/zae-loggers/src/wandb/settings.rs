//! [`Settings`]: what is said in the program, and what the environment says where the program does not.

use std::{fs, path::PathBuf};

use zae_core::error::Fallible;

use super::metric::Metric;
use crate::{Upload, http::Secret};

/// Where W&B is, unless `WANDB_BASE_URL` says otherwise.
const BASE_URL: &str = "https://api.wandb.ai";

const LONGEST_PROJECT: usize = 128;

/// Where a run's entries go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// To a file, and from there to the server.
    Online,
    /// To a file, which `wandb sync` uploads.
    Offline,
    /// Nowhere.
    Disabled,
}

/// What is done about a run of the same id that is on the server already. A run that goes on from a checkpoint goes on there
/// too, whatever is said here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResumeRun {
    /// It goes on if it is there.
    Allow,
    /// It has to be there.
    Must,
    /// It must not be there.
    Never,
}

/// What is said in the program.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) project: String,
    pub(super) entity: Option<String>,
    pub(super) name: Option<String>,
    pub(super) id: Option<String>,
    pub(super) group: Option<String>,
    pub(super) job_type: Option<String>,
    pub(super) notes: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) dir: Option<PathBuf>,
    pub(super) mode: Option<Mode>,
    pub(super) resume: Option<ResumeRun>,
    pub(super) api_key: Option<Secret>,
    pub(super) base_url: Option<String>,
    pub(super) upload: Upload,
    pub(super) metrics: Vec<Metric>,
}

impl Settings {
    /// With what `variable` says where these say nothing.
    ///
    /// # Errors
    /// When a variable, or a name, can never be right.
    pub(super) fn resolve(&self, variable: impl Fn(&str) -> Option<String>) -> Fallible<Self> {
        let variable = |name| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let or = |own: &Option<String>, name| own.clone().or_else(|| variable(name));
        let mut settings = self.clone();
        if settings.project.is_empty() {
            settings.project = variable("WANDB_PROJECT").unwrap_or_else(|| "uncategorized".to_owned());
        }
        settings.entity = or(&self.entity, "WANDB_ENTITY");
        settings.name = or(&self.name, "WANDB_NAME");
        settings.id = or(&self.id, "WANDB_RUN_ID");
        settings.group = or(&self.group, "WANDB_RUN_GROUP");
        settings.job_type = or(&self.job_type, "WANDB_JOB_TYPE");
        settings.notes = or(&self.notes, "WANDB_NOTES");
        settings.dir = settings.dir.or_else(|| variable("WANDB_DIR").map(PathBuf::from));
        settings.tags = settings.tags.or_else(|| {
            Some(
                variable("WANDB_TAGS")?
                    .split(',')
                    .map(|tag| tag.trim().to_owned())
                    .filter(|tag| !tag.is_empty())
                    .collect::<Vec<_>>(),
            )
        });
        let base_url = or(&self.base_url, "WANDB_BASE_URL");
        settings.base_url = base_url.map(|url| url.trim_end_matches('/').to_owned()).filter(|url| url != BASE_URL);
        if settings.mode.is_none() {
            settings.mode = match variable("WANDB_MODE").as_deref() {
                None => None,
                Some("online" | "run" | "shared") => Some(Mode::Online),
                Some("offline" | "dryrun") => Some(Mode::Offline),
                Some("disabled") => Some(Mode::Disabled),
                Some(other) => {
                    return Err(format!("WANDB_MODE is `{other}`: `online`, `offline` and `disabled` are known").into());
                }
            };
        }
        if settings.resume.is_none() {
            settings.resume = match variable("WANDB_RESUME").as_deref() {
                None => None,
                Some("allow" | "auto" | "true") => Some(ResumeRun::Allow),
                Some("must") => Some(ResumeRun::Must),
                Some("never") => Some(ResumeRun::Never),
                Some(other) => {
                    return Err(format!("WANDB_RESUME is `{other}`: `allow`, `must` and `never` are known").into());
                }
            };
        }
        settings.api_key = settings.api_key.or_else(|| Secret::new(&variable("WANDB_API_KEY")?));
        settings.metrics = Metric::base().to_vec();
        self.metrics.iter().cloned().for_each(|metric| metric.add_to(&mut settings.metrics));
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Fallible {
        self.metrics.iter().try_for_each(Metric::check)?;
        if let Some(c) = self.project.chars().find(|c| "/\\#?%:".contains(*c)) {
            return Err(
                format!("the project `{}` has a `{c}`, which W&B does not take: rename it", self.project).into()
            );
        }
        if self.project.chars().count() > LONGEST_PROJECT {
            return Err(
                format!("the project's name is longer than the {LONGEST_PROJECT} characters that W&B takes").into()
            );
        }
        if let Some(id) = &self.id
            && let Some(c) = id.chars().find(|c| ":;,#?/'\\".contains(*c) || c.is_whitespace())
        {
            return Err(format!("the run id `{id}` has a `{c}`, which W&B does not take: choose another").into());
        }
        match &self.base_url {
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
                Err(format!("the address `{url}` of W&B does not begin with `https://`").into())
            }
            _ => Ok(()),
        }
    }

    /// The address of the server.
    pub(super) fn url(&self) -> &str {
        self.base_url.as_deref().unwrap_or(BASE_URL)
    }

    /// The key, from here or from `.netrc`, where `wandb login` puts it.
    pub(super) fn key(&self) -> Option<Secret> {
        self.api_key.clone().or_else(|| {
            let path = std::env::var_os("NETRC").map(PathBuf::from).or_else(|| {
                let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"))?;
                Some(PathBuf::from(home).join(".netrc"))
            })?;
            key_in(&fs::read_to_string(path).ok()?, host(self.url()))
        })
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// The password of a machine in the text of a `.netrc`.
fn key_in(netrc: &str, host: &str) -> Option<Secret> {
    let mut words = netrc.split_whitespace();
    let mut is_it = false;
    while let Some(word) = words.next() {
        match word {
            "machine" => is_it = words.next() == Some(host),
            "default" => is_it = false,
            "password" if is_it => return Secret::new(words.next()?),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn resolve(settings: &Settings, variables: &[(&str, &str)]) -> Fallible<Settings> {
        let of = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        settings.resolve(of)
    }

    #[test]
    fn the_program_comes_before_the_environment() {
        let own = Settings { project: "mine".to_owned(), ..Settings::default() };
        let variables = [
            ("WANDB_PROJECT", "theirs"),
            ("WANDB_ENTITY", "team"),
            ("WANDB_TAGS", ",a,, b"),
            ("WANDB_MODE", "offline"),
            ("WANDB_RESUME", "must"),
            ("WANDB_BASE_URL", "http://127.0.0.1:1/"),
            ("WANDB_NAME", "  "),
        ];
        let all = resolve(&own, &variables).unwrap();
        assert_eq!((&*all.project, all.entity.as_deref(), all.name), ("mine", Some("team"), None));
        assert_eq!(all.tags.unwrap(), ["a", "b"]);
        assert_eq!((all.mode, all.resume), (Some(Mode::Offline), Some(ResumeRun::Must)));
        assert_eq!(all.base_url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(resolve(&Settings::default(), &variables).unwrap().project, "theirs");
    }

    #[test]
    fn what_can_never_work_is_said() {
        let text = |settings: Settings, variables: &[_]| resolve(&settings, variables).unwrap_err().to_string();
        assert!(text(Settings { project: "a/b".into(), ..Settings::default() }, &[]).contains("`/`"));
        assert!(text(Settings { project: "p".repeat(129), ..Settings::default() }, &[]).contains("128"));
        assert!(text(Settings { id: Some("a b".into()), ..Settings::default() }, &[]).contains("run id"));
        assert!(text(Settings::default(), &[("WANDB_MODE", "on")]).contains("`offline`"));
        assert!(text(Settings::default(), &[("WANDB_RESUME", "yes")]).contains("`never`"));
        assert!(text(Settings::default(), &[("WANDB_BASE_URL", "wandb.me")]).contains("https://"));
    }

    #[test]
    fn a_key_is_found_where_wandb_login_puts_it() {
        let netrc = "machine a.com\n  login x\n  password no\nmachine api.wandb.ai\n  login user\n  password abc\n";
        assert_eq!(key_in(netrc, host(BASE_URL)).unwrap().expose(), "abc");
        assert!(key_in(netrc, "b.com").is_none());
        assert_eq!(format!("{:?}", key_in(netrc, "a.com")), "Some([redacted])");
    }
}
