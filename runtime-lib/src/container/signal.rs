//! Signals, by name or number.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// A signal (signal(7)): 1 to 64, or zero, which only asks whether the process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

/// The highest real-time signal.
const LAST: i32 = 64;
/// The first one that the C library does not keep for itself.
const REALTIME_MIN: i32 = 34;

impl Signal {
    /// `SIGKILL`.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// `SIGTERM`.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// The signal with a number.
    ///
    /// # Errors
    ///
    /// When there is no such signal.
    pub fn from_number(number: i32) -> Result<Self> {
        if (0..=LAST).contains(&number) {
            Ok(Self(number))
        } else {
            Err(unknown(&number.to_string()))
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// `KILL`, `SIGKILL`, `kill`, `9`, `RTMIN+3`.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(number) = text.parse() {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        realtime(name)
            .or_else(|| {
                nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
                    .ok()
                    .map(|signal| signal as i32)
            })
            .map(Self)
            .ok_or_else(|| unknown(text))
    }
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn realtime(name: &str) -> Option<i32> {
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => REALTIME_MIN.checked_add(offset(rest)?)?,
        (_, Some(rest)) => LAST.checked_add(offset(rest)?)?,
        _ => return None,
    };
    (REALTIME_MIN..=LAST).contains(&number).then_some(number)
}

fn unknown(text: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("unknown signal {text:?}"))
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_has_many_spellings() {
        for text in ["KILL", "SIGKILL", "kill", "sigkill", "9"] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal::KILL);
        }
        assert_eq!("SIGRTMIN+3".parse::<Signal>().unwrap().number(), 37);
        assert_eq!("RTMAX".parse::<Signal>().unwrap().number(), 64);
    }

    #[test]
    fn what_is_no_signal_is_said_so() {
        for text in ["", "SIG", "65", "-1", "NOTHING", "RTMIN-1", "RTMAX+1"] {
            assert!(
                text.parse::<Signal>().unwrap_err().to_string().starts_with("unknown signal"),
                "{text}"
            );
        }
    }
}
