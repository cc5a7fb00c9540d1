//! A failure for programs: with `--json` it is one document on stdout, `{"error": {"code": .., "message": ..}}`, beside
//! the text on stderr.

use super::output;
use routewright_data::LogError;
use routewright_data::importers::ImportError;
use routewright_policy::artifact::ArtifactError;
use routewright_policy::selectors::SelectorError;
use routewright_trainer::FitError;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Exit code of every error.
pub(crate) const FAILED: u8 = 2;

/// Prints an error of a command that was understood.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    output::complain(error);
    if json {
        document(code(error), &output::one_line(error));
    }
    ExitCode::from(FAILED)
}

/// Prints the help or version that was asked for, or what is wrong with the command line.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    let _nowhere_to_say = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        document("usage", message);
    }
    ExitCode::from(FAILED)
}

fn document(code: &str, message: &str) {
    output::say(&format!("{:#}", serde_json::json!({"error": {"code": code, "message": message}})));
}

/// The kind of an error, by the first of its causes that is known.
fn code(error: &anyhow::Error) -> &'static str {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(ErrorKind::NotFound) => return "not_found",
        Some(ErrorKind::PermissionDenied) => return "permission_denied",
        Some(_) => return "io",
        None => {}
    }
    error.chain().find_map(kind).unwrap_or("failed")
}

fn kind(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if let Some(error) = cause.downcast_ref::<FitError>() {
        return Some(match error {
            FitError::UnknownMethod { .. } | FitError::UnknownScenario { .. } => "unknown_name",
            FitError::Params { .. } => "invalid_parameter",
            FitError::Log { .. } | FitError::Pairs { .. } => "unsuitable_log",
            FitError::Device { .. } => "device_unavailable",
            _ => "fit_failed",
        });
    }
    if cause.is::<SelectorError>() {
        return Some("invalid_selector");
    }
    if cause.is::<LogError>() || cause.is::<ImportError>() {
        return Some("invalid_log");
    }
    cause.is::<ArtifactError>().then_some("invalid_policy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use routewright_trainer::methods;

    #[test]
    fn the_first_known_cause_names_the_code() {
        let missing = std::fs::read("no/such/file").context("cannot read it").unwrap_err();
        assert_eq!(code(&missing), "not_found");
        let unknown = anyhow::Error::new(methods::find("knnn").unwrap_err()).context("cannot train");
        assert_eq!(code(&unknown), "unknown_name");
        assert_eq!(code(&anyhow::anyhow!("something else")), "failed");
    }
}
