//! The lab's two hidden subcommands and nothing else, for this crate's tests; `hopsack` has them too.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["lab-host", config] => hopsack_lab::host::run(Path::new(config)),
        ["lab-traffic", arguments @ ..] => hopsack_lab::traffic::run(arguments, &mut std::io::stdout()),
        _ => {
            eprintln!("usage: hopsack-lab-probe lab-host CONFIG | lab-traffic TOOL ...");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}
