//! The settings that the agent writes before loading.

use wirespan_common::settings::Settings;

/// Written by the agent before loading, read-only afterwards.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::DEFAULT;

/// The settings, read as they are at run time and not as they were compiled in.
macro_rules! setting {
    ($($field:tt)+) => {
        // SAFETY: a live static of plain integers; volatile keeps the compiler from using its compiled-in value.
        unsafe { core::ptr::read_volatile(&raw const $crate::settings::settings().$($field)+) }
    };
}
pub(crate) use setting;

#[inline(always)]
pub fn settings() -> &'static Settings {
    &SETTINGS
}
