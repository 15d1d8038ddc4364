//! Names of users of this machine, from `/etc/passwd`: read once, before rights are given up.
//!
//! Users of a directory service (LDAP, SSSD) are not in there. They are told by number.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

/// Bytes read of the file: some 15 000 users.
const MAX_BYTES: u64 = 1024 * 1024;
/// Longest name of a user (`LOGIN_NAME_MAX` of Linux), bytes.
const MAX_NAME_BYTES: usize = 256;
const FILE: &str = "/etc/passwd";

/// Names by number and numbers by name.
#[derive(Clone, Debug, Default)]
pub struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// The users of this machine. A file that can't be read has none.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let mut text = Vec::new();
        match File::open(FILE).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text)) {
            Ok(_) => Self::read(&String::from_utf8_lossy(&text)),
            Err(error) => {
                tracing::debug!("{FILE} cannot be read ({error}): users are told by number");
                Self::default()
            }
        }
    }

    /// Reads the text of the file (passwd(5)): `name:password:number:...` lines.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next())
                && !name.is_empty()
                && name.len() <= MAX_NAME_BYTES
                && let Ok(number) = number.parse()
            {
                // The first of a number is the one that getpwuid(3) finds.
                names.entry(number).or_insert_with(|| name.to_owned());
            }
        }
        Self { names }
    }

    /// The name of a user.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    /// The number of a user.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        // Asked for a few times at the start: an index of its own would cost more.
        self.names.iter().find(|(_, known)| *known == name).map(|(&number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_numbers() {
        let users =
            Users::read("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad line\n:x:5::\nwww-data:x:33:33\n");
        assert_eq!((users.name(0), users.name(33), users.name(5)), (Some("root"), Some("www-data"), None));
        assert_eq!((users.number("www-data"), users.number("nobody")), (Some(33), None));
    }

    #[test]
    fn this_machine_has_a_root() {
        assert_eq!(Users::of_this_machine().name(0), Some("root"));
    }
}
