//! Which requests are answered at all. Pure: names in, yes or no out.
//!
//! A page of another site can make a browser ask this station for things, by its address or, with a
//! name that it points here (DNS rebinding), even read the answers. So a request must name this
//! station by an address, by `localhost`, or by a name of the configuration; and what changes
//! something must come from a page of this station, or from no page.

use std::net::IpAddr;

/// Names of this station beside its addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Of the configuration; capitals do not matter.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether `Host: authority` names this station.
    pub fn allow(&self, authority: &str) -> bool {
        let Some(name) = name_of(authority) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        name == "localhost" || is_address(name) || self.0.iter().any(|known| known == name)
    }
}

/// The name without its port; `None` when it is no name with or without a port.
fn name_of(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            (&authority[..end + 2], &rest[end + 1..])
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    let digits = port.strip_prefix(':');
    let legal = port.is_empty() || digits.is_some_and(|digits| digits.parse::<u16>().is_ok());
    (legal && !name.is_empty()).then_some(name)
}

fn is_address(name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(bare) => matches!(bare.parse(), Ok(IpAddr::V6(_))),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

/// Whether a request that changes something comes from a page of `host` (the request's own `Host`), or
/// from a program that is no browser and sends neither header.
pub fn is_own_page(host: &str, origin: Option<&str>, fetch_site: Option<&str>) -> bool {
    let same_site = matches!(fetch_site, None | Some("same-origin" | "none"));
    let same_origin = origin.is_none_or(|origin| {
        let authority = origin.strip_prefix("http://");
        // A proxy in front may speak TLS.
        let authority = authority.or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    same_site && same_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_station_are_allowed() {
        let hosts = Hosts::new(&["Station.local".to_owned()]);
        for (authority, allowed) in [
            ("127.0.0.1:8080", true),
            ("192.168.4.1", true),
            ("[::1]:8080", true),
            ("[fe80::1]", true),
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("station.local:8080", true),
            ("station.local.", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("station.local.evil.example:8080", false),
            ("evil.example:127.0.0.1", false),
            ("localhost:8080:8080", false),
            ("localhost@evil.example", false),
            ("localhost:", false),
            ("::1", false),
            ("[::1", false),
            ("[127.0.0.1]", false),
            ("[::1]x", false),
            ("", false),
            (":8080", false),
        ] {
            assert_eq!(hosts.allow(authority), allowed, "{authority}");
        }
    }

    #[test]
    fn another_sites_page_changes_nothing() {
        const HOST: &str = "192.168.4.1:8080";
        for (origin, site, own) in [
            (None, None, true),
            (Some("http://192.168.4.1:8080"), Some("same-origin"), true),
            (Some("http://192.168.4.1:8080"), None, true),
            (Some("https://192.168.4.1:8080"), None, true),
            (None, Some("none"), true),
            (Some("http://192.168.4.1"), None, false),
            (Some("http://192.168.4.1:8081"), None, false),
            (Some("http://evil.example"), Some("cross-site"), false),
            (Some("http://evil.example"), None, false),
            (Some("null"), None, false),
            (Some(""), None, false),
            (None, Some("cross-site"), false),
            (None, Some("same-site"), false),
            (Some("http://192.168.4.1:8080.evil.example"), None, false),
        ] {
            assert_eq!(is_own_page(HOST, origin, site), own, "{origin:?} {site:?}");
        }
    }
}
