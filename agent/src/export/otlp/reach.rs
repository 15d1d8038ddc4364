//! Whether the receiver can be reached: one empty request, which every receiver takes and makes nothing of.

use std::time::Duration;

use super::Outcome;
use super::config::Config;
use super::worker::{Sender, empty_request};

/// Sends an empty request. To be called outside of any runtime.
///
/// # Errors
///
/// In words, why the receiver did not take it.
pub fn reach(config: &Config, within: Duration) -> Result<(), String> {
    let sender = Sender::new(config).map_err(|error| error.to_string())?;
    let body = empty_request(config).ok_or_else(|| "an empty request can't be made".to_owned())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async { tokio::time::timeout(within, sender.send(body)).await });
    // A name look-up that hangs is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Accepted { .. }) => Ok(()),
        Ok(Outcome::Later { why, .. }) => Err(format!("not now: {why}")),
        Ok(Outcome::Refused { why }) => Err(format!("refused: {why}")),
        Err(_) => Err(format!("no answer within {} s", within.as_secs())),
    }
}
