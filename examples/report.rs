//! One HTML file that shows a run, or several over one another. The runs may be going on.
//!
//! `cargo run --example report -- runs/first runs/second --output comparison.html`
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use clap::Parser;
use zae_engine::{prelude::*, report};

/// Makes a report of runs
#[derive(Parser)]
struct Options {
    /// Folders that a trainer was told with `.run_dir(..)`
    #[arg(required = true)]
    run_dirs: Vec<PathBuf>,
    /// Where it goes
    #[arg(long, default_value = "report.html")]
    output: PathBuf,
}

fn main() -> Result<(), BoxError> {
    let Options { run_dirs, output } = Options::parse();
    report::write(&run_dirs, &output)?;
    println!("{}", output.display());
    Ok(())
}
