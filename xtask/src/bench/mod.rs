//! Benches.
use crate::step::Steps;
use anyhow::Result;
pub(crate) fn bench(_names: &[String], _steps: &mut Steps) -> Result<()> {
    Ok(())
}
