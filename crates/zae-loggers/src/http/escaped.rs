//! Texts as parts of addresses.

/// Percent-encoded, all but the characters that RFC 3986 reserves for nothing.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_cannot_have_is_encoded() {
        assert_eq!(escaped("a b/ä&c"), "a%20b%2F%C3%A4%26c");
    }
}
