//! Runs as the loggers and `HtmlReport` leave them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

/// What a run is to look like.
pub struct Sample {
    pub steps_per_epoch: u64,
    pub epochs: u64,
    pub lr: f64,
    pub width: u64,
    pub seconds_per_step: f64,
    pub ending: &'static str,
    pub reason: &'static str,
}

pub const SMALL: Sample = Sample {
    steps_per_epoch: 90,
    epochs: 12,
    lr: 1e-3,
    width: 64,
    seconds_per_step: 0.21,
    ending: "complete",
    reason: "",
};
pub const LARGE: Sample = Sample { lr: 3e-3, width: 256, seconds_per_step: 0.34, ..SMALL };
pub const STOPPED: Sample =
    Sample { epochs: 7, lr: 3e-2, ending: "stopped", reason: "valid/loss has not improved for 3 evaluations", ..SMALL };
pub const GOING: Sample = Sample { epochs: 4, lr: 5e-4, ending: "running", ..SMALL };

/// Numbers that look random, from 0 to 1.
fn noise(i: u64) -> f64 {
    let mut x = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

impl Sample {
    fn loss(&self, step: f64) -> f64 {
        let speed = self.lr.sqrt() * 0.35 * (1.0 + (self.width as f64).log2() / 40.0);
        2.3 * (-speed * step.powf(0.85) / 3.0).exp() + 0.045 + (self.lr - 0.01).max(0.0) * 8.0
    }

    /// `metrics.csv`, with a profiler and gradient norms.
    fn csv(&self) -> String {
        let mut csv =
            "event,epoch,step,micro_batch,samples,seconds,lr,train/loss,train/accuracy,train/grad_norm,valid/loss,\
                       valid/accuracy,meter/time/forward,meter/time/backward,meter/time/data,meter/time/evaluation,\
                       meter/time/step,meter/time/add_ons,meter/samples_per_s,test/loss,test/accuracy\n"
                .to_owned();
        let total = (self.steps_per_epoch * self.epochs) as f64;
        let accuracy = |loss: f64| 1.0 / (1.0 + loss * 0.55);
        let lr = |step: u64| self.lr * (0.5 + 0.5 * (std::f64::consts::PI * step as f64 / total).cos());
        let seed = self.width + (self.lr * 1e5) as u64;
        for epoch in 0..self.epochs {
            let mut mean = 0.0;
            for i in 0..self.steps_per_epoch {
                let step = epoch * self.steps_per_epoch + i;
                let loss = self.loss(step as f64) * (0.72 + 0.56 * noise(seed + step));
                mean += loss / self.steps_per_epoch as f64;
                let (samples, seconds) = ((step + 1) * 32, (step + 1) as f64 * self.seconds_per_step);
                let norm = 0.4 + loss * (1.0 + noise(step * 7));
                let rate = if step % 50 == 49 { (32.0 / self.seconds_per_step).to_string() } else { String::new() };
                let row = format!("{samples},{seconds},{},{loss},{},{norm}", lr(step), accuracy(loss));
                writeln!(csv, "step,{epoch},{step},{i},{row},,,,,,,,,{rate},,").unwrap();
            }
            let step = (epoch + 1) * self.steps_per_epoch;
            let (samples, seconds) = (step * 32, step as f64 * self.seconds_per_step + 1.5);
            let overfit = (self.width as f64 / 6400.0) * (epoch as f64 / 6.0).powi(2);
            let valid = self.loss(step as f64) * 1.1 + 0.03 + overfit + 0.01 * noise(epoch);
            let (lr, right) = (lr(step - 1), accuracy(valid));
            writeln!(csv, "evaluation,{epoch},{step},,{samples},{seconds},{lr},,,,{valid},{right},,,,,,,,,").unwrap();
            let own = self.seconds_per_step * self.steps_per_epoch as f64;
            let times = [own * 0.34, own * 0.46, own * 0.12, 1.5, own * 0.06, own * 0.02]
                .map(|time| time.to_string())
                .join(",");
            let train = format!("{mean},{},{}", accuracy(mean), 1.0 + mean);
            writeln!(csv, "epoch,{epoch},{step},,{samples},{seconds},{lr},{train},{valid},{right},{times},150,,")
                .unwrap();
        }
        if self.ending == "complete" {
            let (step, loss) = (self.epochs * self.steps_per_epoch, self.loss(total) * 1.2 + 0.05);
            let (epoch, seconds) = (self.epochs, step as f64 * self.seconds_per_step + 3.0);
            writeln!(csv, "evaluation,{epoch},{step},,0,{seconds},0,,,,,,,,,,,,,{loss},{}", accuracy(loss)).unwrap();
        }
        csv
    }

    fn record(&self) -> serde_json::Value {
        let written = 1_796_083_445.25 + 3.0 + self.seconds_per_step * (self.epochs * self.steps_per_epoch) as f64;
        json!({
            "version": 1, "written": written, "ended": if self.ending == "running" { 0.0 } else { written }, "ending": self.ending, "reason": self.reason, "started": 1_796_083_445.25,
            "starts": 1, "steps": self.epochs * self.steps_per_epoch, "total_steps": 12 * self.steps_per_epoch,
            "total_epochs": 12, "steps_per_epoch": self.steps_per_epoch,
            "config": {"engine": "burn", "schedule": format!("Cosine from {} over 1080 steps", self.lr), "batch_size": "32",
                "gradient_clip": "Norm(1.0)", "seed": "42", "model/width": self.width.to_string(), "model/layers": "4",
                "non_finite": "Stop", "validate": "Epoch"},
            "environment": {"host": "workstation", "system": "linux 6.1.0 x86_64", "processor": "A Processor With 8 Cores",
                "cores": 8, "memory_bytes": 33_554_432_000u64, "program": "target/release/digits",
                "arguments": ["--lr", self.lr.to_string(), "--api-key", "[redacted]"], "folder": "/home/me/digits",
                "commit": "0123456789abcdef0123456789abcdef01234567", "branch": "main", "processes": 1, "zae_engine": "0.1.0"},
            "notices": [
                {"warning": false, "step": 0, "text": "module  shapes          parameters\nconv1   [16, 1, 3, 3]          160\nin all                         160"},
                {"warning": self.ending == "stopped", "step": 630, "text": "a thing that people should know"}],
        })
    }

    pub fn write(&self, folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("metrics.csv"), self.csv()).unwrap();
        fs::write(folder.join("run.json"), self.record().to_string()).unwrap();
        folder.to_owned()
    }
}

/// A run of one metric at these steps.
pub fn curve(folder: &Path, name: &str, values: impl IntoIterator<Item = f64>) -> PathBuf {
    let quoted = if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() };
    let mut csv = format!("event,epoch,step,micro_batch,samples,seconds,lr,{quoted}\n");
    for (step, value) in values.into_iter().enumerate() {
        writeln!(csv, "step,0,{step},{step},{step},{step},,{value}").unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("metrics.csv"), csv).unwrap();
    folder.to_owned()
}
