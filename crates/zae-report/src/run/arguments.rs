//! A program's arguments without the secrets that are in some.

const INSTEAD: &str = "[redacted]";
/// What the words of an option's name end with whose value nobody else should know.
const SECRET: [&str; 9] = ["key", "token", "secret", "password", "passwd", "passphrase", "pwd", "auth", "credentials"];
/// What well-known keys begin with.
const BEGINNINGS: [&str; 8] = ["ghp_", "github_pat_", "glpat-", "hf_", "sk-", "xox", "AKIA", "eyJ"];
/// A word of letters and digits that is as long as this is a key, or a hash that nobody misses.
const LONG: usize = 32;

/// Takes out the values of options whose name says so, logins in addresses, and what looks like a key.
pub(super) fn without_secrets(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut of_secret = false;
    let clean = |argument: String| {
        let is_value = !argument.starts_with('-');
        if std::mem::take(&mut of_secret) && is_value {
            return INSTEAD.to_owned();
        }
        match argument.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={INSTEAD}"),
            Some((name, value)) => format!("{name}={}", without_secret(value)),
            None => {
                of_secret = !is_value && is_secret(&argument);
                without_secret(&argument)
            }
        }
    };
    arguments.into_iter().map(clean).collect()
}

/// Whether a name is that of a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| SECRET.iter().any(|secret| word.ends_with(secret)))
}

/// A value, unless it looks like a secret.
pub(super) fn without_secret(value: &str) -> String {
    if let Some((scheme, rest)) = value.split_once("://") {
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        return match host.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{INSTEAD}@{host}{path}"),
            None => value.to_owned(),
        };
    }
    let is_word = value.len() >= LONG && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_mixed = value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic());
    let is_known = value.len() >= 12 && BEGINNINGS.iter().any(|beginning| value.starts_with(beginning));
    if is_known || (is_word && is_mixed) { INSTEAD.to_owned() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_all_else_is_left() {
        let cases = [
            ("--lr 0.1 --epochs 3", "--lr 0.1 --epochs 3"),
            ("--api-key abc --seed 1", "--api-key [redacted] --seed 1"),
            ("--api-key=abc", "--api-key=[redacted]"),
            ("--WANDB_API_KEY abc", "--WANDB_API_KEY [redacted]"),
            ("--accessToken abc", "--accessToken [redacted]"),
            ("password=abc x", "password=[redacted] x"),
            ("--token --verbose x", "--token --verbose x"),
            ("--tokenizer bpe --max-tokens 9", "--tokenizer bpe --max-tokens 9"),
            ("--db postgres://me:pw@host/db", "--db postgres://[redacted]@host/db"),
            ("--url=https://me@h", "--url=https://[redacted]@h"),
            ("--url http://h/a@b", "--url http://h/a@b"),
            ("x hf_abcdefghijkl", "x [redacted]"),
            ("0123456789abcdef0123456789abcdef01234567", "[redacted]"),
            ("runs/a_rather_long_name_of_a_folder_2", "runs/a_rather_long_name_of_a_folder_2"),
        ];
        for (given, expected) in cases {
            let found = without_secrets(given.split(' ').map(str::to_owned)).join(" ");
            assert_eq!(found, expected);
        }
    }
}
