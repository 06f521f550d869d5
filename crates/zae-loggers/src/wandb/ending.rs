//! [`Ending`]: how a run's file gets to the server, and what people are told at its end.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use zae_core::{add_on::Notice, error::Fallible};

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
                Some(Notice::Warning(match rest(file) {
                    Ok((folder, maybe)) => format!(
                        "wandb: not all of the run is on the server ({why}); to upload the rest: {}{}",
                        command(base_url.as_deref(), &folder),
                        doubt(maybe)
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

/// Writes what the server has not got. Returns the folder, and how many entries of it the server may have.
fn rest(file: &Path) -> Fallible<(PathBuf, u64)> {
    let sent = Sent::read(file)?;
    Ok((remainder::write(file, &sent)?, sent.maybe.saturating_sub(sent.entries)))
}

/// What has to be known of a rest before it is uploaded: `wandb sync` does not ask what of it is there.
fn doubt(maybe: u64) -> String {
    if maybe == 0 {
        return String::new();
    }
    format!(
        " (its first {maybe} rows were sent, but the server has not answered: where it has them all the same, they would be \
         there twice; a program that goes on from a checkpoint sends them as what they are)"
    )
}

/// What uploads a folder. `wandb` is W&B's own program.
fn command(base_url: Option<&str>, folder: &std::path::Path) -> String {
    let server = base_url.map_or_else(String::new, |url| format!("WANDB_BASE_URL={url} "));
    format!("{server}wandb sync '{}'", folder.display())
}
