//! [`Ending`]: how a run's file gets to the server, and what people are told at its end.

use std::{path::PathBuf, time::Instant};

use zae_core::add_on::Notice;

use super::{remainder, sent::Sent};
use crate::upload::Uploader;

/// How a run's file gets to the server.
pub(super) enum Ending {
    /// By hand.
    Offline {
        /// The folder of the run.
        folder: PathBuf,
        /// A server that is not W&B's.
        base_url: Option<String>,
        /// People know already.
        told: bool,
    },
    /// By itself.
    Online {
        /// Or why there is none.
        uploader: Result<Uploader, String>,
        file: PathBuf,
        base_url: Option<String>,
    },
}

impl Ending {
    /// Waits until the server has the file, or the deadline. Returns what people should know.
    pub(super) fn wait(&self, deadline: Instant) -> Option<Notice> {
        match self {
            Self::Offline { told: true, .. } => None,
            Self::Offline { folder, base_url, .. } => {
                let command = command(base_url.as_deref(), folder);
                Some(Notice::Info(format!("wandb: the run is in `{}`; to upload it: {command}", folder.display())))
            }
            Self::Online { uploader, file, base_url } => {
                let why = match uploader {
                    Ok(uploader) => uploader.finish(deadline).err()?,
                    Err(why) => why.clone(),
                };
                let rest = Sent::read(file).map_err(Into::into).and_then(|sent| remainder::write(file, &sent));
                Some(Notice::Warning(match rest {
                    Ok(folder) => format!(
                        "wandb: not all of the run is on the server ({why}); to upload the rest: {}",
                        command(base_url.as_deref(), &folder)
                    ),
                    Err(error) => format!(
                        "wandb: not all of the run is on the server ({why}); all of it is in `{}`, but its rest cannot be \
                         written for `wandb sync` ({error})",
                        file.display()
                    ),
                }))
            }
        }
    }
}

/// What uploads a folder. `wandb` is W&B's own program.
fn command(base_url: Option<&str>, folder: &std::path::Path) -> String {
    let server = base_url.map_or_else(String::new, |url| format!("WANDB_BASE_URL={url} "));
    format!("{server}wandb sync '{}'", folder.display())
}
