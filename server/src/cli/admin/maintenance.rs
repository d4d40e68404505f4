//! Verification and backup of a running server: begun over REST, and asked about until they end.
//!
//! Invariant: progress goes to standard error, so that standard output has the result and nothing else.

use super::client::AdminError;
use super::print::{Form, fields, line, printable};
use super::run::Session;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// The first pause between two questions, and the longest.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(5);

/// What to verify, and how fast.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Verify {
    /// Read at most so many bytes per second
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Go on where the last run stopped
    #[arg(long)]
    resume: bool,
}

/// Where to back up to.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Backup {
    /// The name of a directory below the server's setting backup.directory; into the same one again,
    /// only what is new is copied
    name: String,
}

impl<O: Write> Session<'_, O> {
    pub(super) async fn verify(&mut self, command: &Verify) -> Result<(), AdminError> {
        let mut body = json!({ "resume": command.resume });
        if let Some(rate) = command.rate {
            body["bytes_per_second"] = rate.into();
        }
        let run = self.follow("verification", body).await?;
        let wrong = run["wrong"].as_u64().unwrap_or(0);
        if self.form == Form::Json {
            fields(self.out, self.form, &run)?;
        } else {
            self.tell_findings(&run)?;
        }
        ended(&run, "the verification")?;
        if wrong == 0 { Ok(()) } else { Err(AdminError::Wrong(wrong)) }
    }

    fn tell_findings(&mut self, run: &Value) -> Result<(), AdminError> {
        for finding in run["findings"].as_array().into_iter().flatten() {
            line(self.out, &format!("wrong: {}", printable(&finding["what"])))?;
            line(self.out, &format!("  to do: {}", printable(&finding["advice"])))?;
        }
        let outcome = match run["wrong"].as_u64() {
            _ if run["finished_at"].is_null() => "not finished".to_owned(),
            Some(0) => "all is well".to_owned(),
            _ => format!("{} things are wrong", run["wrong"]),
        };
        let words =
            format!("verified {} objects, {} bytes: {outcome}", run["objects"], run["bytes"]);
        line(self.out, &words)
    }

    pub(super) async fn backup(&mut self, command: &Backup) -> Result<(), AdminError> {
        let backup = self.follow("backup", json!({ "name": command.name })).await?;
        ended(&backup, "the backup")?;
        let lacking = backup["damaged"].as_array().cloned().unwrap_or_default();
        if self.form == Form::Json {
            fields(self.out, self.form, &backup)?;
        } else {
            let words = format!(
                "backed up {} objects of {} bytes to {}; {} of them new, {} bytes",
                backup["objects"],
                backup["bytes"],
                printable(&backup["name"]),
                backup["copied"],
                backup["copied_bytes"],
            );
            line(self.out, &words)?;
            for digest in &lacking {
                let digest = printable(digest);
                line(
                    self.out,
                    &format!("not copied, because it is damaged or missing: blob {digest}"),
                )?;
            }
        }
        match u64::try_from(lacking.len()).unwrap_or(u64::MAX) {
            0 => Ok(()),
            wrong => Err(AdminError::Wrong(wrong)),
        }
    }

    /// Begins something and asks about it until it has ended; returns how.
    async fn follow(&self, what: &str, body: Value) -> Result<Value, AdminError> {
        let mut state = self.client.post(&[what], body).await?;
        let mut pause = SOON;
        while state["running"] == true {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LATER);
            state = self.client.get(&[what], &[]).await?;
            if state["running"] == true && pause == LATER {
                // If standard error is gone, the work goes on.
                let _ = writeln!(
                    std::io::stderr().lock(),
                    "{} objects, {} bytes so far",
                    state["objects"],
                    state["bytes"]
                );
            }
        }
        Ok(state)
    }
}

/// Whether it came to its end.
fn ended(state: &Value, what: &str) -> Result<(), AdminError> {
    if let Some(failure) = state["failure"].as_str() {
        return Err(AdminError::Refused(format!("{what} failed: {failure}")));
    }
    if state["finished_at"].is_null() {
        let words = "was cut off, because the server stopped or another run took its place";
        return Err(AdminError::Refused(format!("{what} {words}")));
    }
    Ok(())
}
