//! The command line: for people who run the pipe by hand, one flag for each variable.
//!
//! Invariant: a flag means what its variable means and wins over it; no secret is a flag, because
//! everybody on the machine can read a command line.
//! Must not know: what a value means.

use std::ffi::OsString;
use std::io::{self, Read};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::variables::{self, VARIABLES, Variable};

/// Reads the command line; `stdin` is read only if a flag says so. What is given becomes variables.
///
/// # Errors
/// What clap has to say, `--help` and `--version` included.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    stdin: &mut dyn Read,
) -> Result<Vec<(String, String)>, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let mut given: Vec<(String, String)> = VARIABLES
        .iter()
        .filter_map(|variable| Some((variable.name.to_owned(), value(variable, &matches)?)))
        .collect();
    if let Some(image) = matches.get_one::<String>(IMAGE) {
        given.push(("IMAGE_NAME".to_owned(), image.clone()));
    }
    if matches.get_flag(STDIN) {
        let password = password(stdin).map_err(|error| {
            command().error(clap::error::ErrorKind::Io, format!("no password to read: {error}"))
        })?;
        given.push(("PASSWORD".to_owned(), password));
    }
    Ok(given)
}

fn command() -> Command {
    let image = Arg::new(IMAGE).value_name("IMAGE").conflicts_with("IMAGE_NAME");
    let stdin = Arg::new(STDIN).long(STDIN).action(ArgAction::SetTrue);
    Command::new("standpipe-pipe")
        .version(env!("CARGO_PKG_VERSION"))
        .override_help(variables::help())
        .args(VARIABLES.iter().filter_map(argument))
        .arg(stdin)
        .arg(image)
}

fn argument(variable: &Variable) -> Option<Arg> {
    // clap wants a text that lives as long as the process; there is one for each variable.
    let flag: &'static str = variable.flag()?.leak();
    let argument = Arg::new(variable.name).long(flag).value_name("VALUE");
    Some(if variable.is_switch() {
        argument.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else if variable.is_list() {
        argument.action(ArgAction::Append)
    } else {
        argument
    })
}

/// The value as the variable would have it: the elements of a list each on a line.
fn value(variable: &Variable, matches: &ArgMatches) -> Option<String> {
    variable.flag()?;
    let values: Vec<String> = matches.get_many(variable.name)?.cloned().collect();
    Some(values.join("\n"))
}

fn password(stdin: &mut dyn Read) -> io::Result<String> {
    let mut text = String::new();
    stdin.take(LONGEST).read_to_string(&mut text)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::other("standard input is empty")),
        password => Ok(password.to_owned()),
    }
}

const IMAGE: &str = "image";
const STDIN: &str = "password-stdin";
/// Of a password, in bytes; tokens of identity providers are a few KiB.
const LONGEST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str], mut stdin: &[u8]) -> Result<Vec<(String, String)>, String> {
        let all = ["standpipe-pipe"].iter().chain(arguments).map(OsString::from);
        read(all, &mut stdin).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_variables_that_they_are_called_by() {
        let arguments = [
            "--registry",
            "reg.example",
            "--tags",
            "1.2",
            "--tags=latest",
            "--dry-run",
            "--insecure=false",
            "--password-stdin",
            "shop/app:1.2",
        ];
        let mut found = given(&arguments, b"hunter22\r\n").unwrap();
        found.sort();
        let expected = [
            ("DRY_RUN", "true"),
            ("IMAGE_NAME", "shop/app:1.2"),
            ("INSECURE", "false"),
            ("PASSWORD", "hunter22"),
            ("REGISTRY", "reg.example"),
            ("TAGS", "1.2\nlatest"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(given(&[], b"not read").unwrap(), []);
    }

    #[test]
    fn a_switch_takes_no_word_that_follows() {
        let found = given(&["--dry-run", "app"], b"").unwrap();
        assert!(found.contains(&("IMAGE_NAME".to_owned(), "app".to_owned())), "{found:?}");
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for wrong in [&["--password", "x"][..], &["--nothing"], &["a", "b"], &["--tags"]] {
            assert!(given(wrong, b"").is_err(), "{wrong:?}");
        }
        assert!(given(&["--password-stdin"], b"\n").is_err());
        assert!(given(&["app", "--image-name", "app"], b"").is_err());
    }

    #[test]
    fn the_command_is_sound_and_help_names_every_flag() {
        command().debug_assert();
        let help = variables::help();
        for variable in VARIABLES {
            let flag = variable.flag().map(|flag| format!("--{flag}"));
            assert!(flag.is_none_or(|flag| help.contains(&flag)), "{}", variable.name);
        }
    }
}
