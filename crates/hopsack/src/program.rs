//! Other programs of this machine, run to read what they say.

use std::env;
use std::io;
use std::process::Command;

/// Where programs for root are, on systems whose `PATH` leaves them out.
const SYSTEM_DIRECTORIES: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin";

/// What a program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it ended with status 0.
    pub success: bool,
    /// Its standard output, then its standard error.
    pub text: String,
}

/// Runs a program to its end, without any input.
pub fn run(words: &[&str]) -> io::Result<Said> {
    let [program, arguments @ ..] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let path = env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:{SYSTEM_DIRECTORIES}"))
        // What some say is compared.
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Said { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
}

/// What a program wrote, if it is there and ended well.
pub fn read(words: &[&str]) -> Option<String> {
    run(words).ok().filter(|said| said.success).map(|said| said.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_read_and_one_that_is_missing_is_told() {
        assert_eq!(read(&["echo", "a", "b"]).as_deref(), Some("a b\n"));
        let said = run(&["sh", "-c", "echo out; echo err >&2; exit 3"]).unwrap();
        assert_eq!(said, Said { success: false, text: "out\nerr\n".to_owned() });
        assert_eq!(run(&["no-such-program"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&["false"]), None);
    }
}
