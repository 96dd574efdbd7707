//! The forward proxy on the way to the origin: `upstream.proxy`, or that of the environment.

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::values::{OriginUrl, Secret};

/// Variables of other programs that are read where `upstream.proxy` is not set.
///
/// `HTTP_PROXY` is not among them, so an origin without TLS gets no proxy from the environment. In
/// CGI it has the value of the field `Proxy`, so a client could set it.
const PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// `upstream.proxy`: host and port of an HTTP proxy; `None` is "off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardProxy(pub Option<Authority>);

impl ForwardProxy {
    /// Reads `http://host:port`, or `off`.
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(written: &str) -> Result<Self, String> {
        if written == "off" {
            return Ok(Self(None));
        }
        match read(written)? {
            (proxy, None) => Ok(proxy),
            // Not repeated, because it has a secret.
            (_, Some(_)) => Err(
                "a password does not belong here; write user:password in a file, and its path as \
                 upstream.proxy_credentials_file"
                    .to_owned(),
            ),
        }
    }

    /// The string that [`ForwardProxy::parse`] reads back.
    pub(super) fn text(&self) -> String {
        let url = |address| format!("http://{address}");
        self.0.as_ref().map_or_else(|| "off".to_owned(), url)
    }
}

/// A proxy, and the `Proxy-Authorization` for it.
type Credentialed = (ForwardProxy, Option<Secret>);

/// The proxy for an origin by these variables, and the name of the one that decides.
pub(super) fn of_environment(
    origin: &OriginUrl,
    variables: &[(String, String)],
) -> Option<(&'static str, Result<Credentialed, String>)> {
    if *origin.scheme() == Scheme::HTTP {
        return None;
    }
    let find = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| {
            let is_set = |(set, value): &&(String, String)| set == name && !value.is_empty();
            let (_, value) = variables.iter().find(is_set)?;
            Some((name, value.as_str()))
        })
    };
    let (name, url) = find(PROXY)?;
    let proxy = read(url);
    if proxy.is_ok()
        && let Some((name, exempt)) = find(NO_PROXY)
        && intercept(url, &plain(exempt, origin), &origin.to_string()).is_none()
    {
        return Some((name, Ok((ForwardProxy(None), None))));
    }
    Some((name, proxy))
}

/// A list of exempt hosts without the forms that [`Matcher`] does not know, but Go's programs do:
/// `*.host`, `host:port` and a final dot.
fn plain(exempt: &str, origin: &OriginUrl) -> String {
    let port = origin.authority().port_u16().unwrap_or(443).to_string();
    let hosts = exempt.split(',').map(str::trim).filter_map(|entry| {
        let entry = entry
            .strip_prefix('*')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(entry);
        let host = match entry.split_once(':') {
            // Not an IPv6 address.
            Some((host, only)) if !only.contains(':') => (only == port).then_some(host)?,
            _ => entry,
        };
        Some(host.trim_end_matches('.'))
    });
    hosts.collect::<Vec<_>>().join(",")
}

/// Reads the URL of a proxy. An error does not repeat it, because it may have a password.
fn read(url: &str) -> Result<Credentialed, String> {
    let wrong = || {
        "this is not the URL of a proxy with its port; write http://host:port (neither TLS to the \
         proxy nor SOCKS is supported)"
            .to_owned()
    };
    let found = intercept(url, "", "https://origin").ok_or_else(wrong)?;
    let address = found.uri().authority().filter(|address| {
        let has_port = address.port_u16().is_some_and(|port| port > 0);
        // An `@` is the rest of a password that has one: the first ends the userinfo here.
        let is_plain = !address.host().is_empty() && !address.as_str().contains('@');
        has_port && is_plain && found.uri().scheme() == Some(&Scheme::HTTP)
    });
    let proxy = ForwardProxy(Some(address.ok_or_else(wrong)?.clone()));
    let credentials = found.basic_auth().and_then(|basic| basic.to_str().ok());
    let credentials = credentials.map(|basic| Secret(basic.to_owned().into()));
    Ok((proxy, credentials))
}

/// The proxy for a URL, by the rules that curl has for these variables.
fn intercept(proxy: &str, exempt: &str, url: &str) -> Option<Intercept> {
    let matcher = Matcher::builder().https(proxy).no(exempt).build();
    matcher.intercept(&url.parse::<Uri>().ok()?)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const HTTPS: &str = "https://api.stuut.ai";

    /// The way to an origin as text, with its variable.
    fn way(origin: &str, variables: &[(&str, &str)]) -> String {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        let origin = OriginUrl::parse(origin).expect("an origin");
        match of_environment(&origin, &variables) {
            None => "direct".to_owned(),
            Some((name, Ok((proxy, None)))) => format!("{} by {name}", proxy.text()),
            Some((name, Ok((proxy, Some(secret))))) => {
                format!(
                    "{} by {name} with {}",
                    proxy.text(),
                    secret.0.expose_secret()
                )
            }
            Some((name, Err(message))) => {
                assert!(!message.contains("s3cret"), "{message}");
                format!("{name} refused")
            }
        }
    }

    #[test]
    fn the_environment_decides_as_for_other_programs() {
        let (upper, lower) = (("HTTPS_PROXY", "http://p:1"), ("https_proxy", "http://q:2"));
        for (origin, variables, expected) in [
            (HTTPS, &[][..], "direct"),
            (HTTPS, &[upper], "http://p:1 by HTTPS_PROXY"),
            (HTTPS, &[lower, upper], "http://p:1 by HTTPS_PROXY"),
            (
                HTTPS,
                &[("HTTPS_PROXY", ""), lower],
                "http://q:2 by https_proxy",
            ),
            // A client of a CGI program sets HTTP_PROXY.
            (
                "http://api.stuut.ai",
                &[
                    upper,
                    ("HTTP_PROXY", "http://evil:1"),
                    ("http_proxy", "http://r:3"),
                ],
                "direct",
            ),
            (
                HTTPS,
                &[("HTTP_PROXY", "http://evil:1"), ("ALL_PROXY", "http://r:3")],
                "direct",
            ),
            // A scheme is optional, a port is not: curl, Go and others have different defaults.
            (
                HTTPS,
                &[("HTTPS_PROXY", "p.corp:3128")],
                "http://p.corp:3128 by HTTPS_PROXY",
            ),
            (
                HTTPS,
                &[("HTTPS_PROXY", "http://[::1]:3128")],
                "http://[::1]:3128 by HTTPS_PROXY",
            ),
            (
                HTTPS,
                &[("HTTPS_PROXY", "http://u:a%40b@p:1/")],
                "http://p:1 by HTTPS_PROXY with Basic dTphQGI=",
            ),
            (HTTPS, &[("HTTPS_PROXY", "p.corp")], "HTTPS_PROXY refused"),
            (
                HTTPS,
                &[("HTTPS_PROXY", "http://u:a@s3cret@p:1")],
                "HTTPS_PROXY refused",
            ),
            (
                HTTPS,
                &[("HTTPS_PROXY", "http://@s3cret@p:1")],
                "HTTPS_PROXY refused",
            ),
            (
                HTTPS,
                &[("HTTPS_PROXY", "http://u:s3cret@p:0")],
                "HTTPS_PROXY refused",
            ),
            (
                HTTPS,
                &[("HTTPS_PROXY", "https://u:s3cret@p:1")],
                "HTTPS_PROXY refused",
            ),
            (
                HTTPS,
                &[("https_proxy", "socks5://u:s3cret@p:1"), ("NO_PROXY", "*")],
                "https_proxy refused",
            ),
            (
                HTTPS,
                &[("https_proxy", "http://u:s3 cret@p:1")],
                "https_proxy refused",
            ),
        ] {
            assert_eq!(way(origin, variables), expected, "{origin} {variables:?}");
        }
    }

    #[test]
    fn an_exempt_origin_is_reached_directly() {
        let upper = ("HTTPS_PROXY", "http://p:1");
        for (origin, variables, expected) in [
            (
                HTTPS,
                &[
                    upper,
                    ("NO_PROXY", "10.0.0.0/8,.cluster.local,stuut.ai.test"),
                ],
                "http://p:1 by HTTPS_PROXY",
            ),
            (
                HTTPS,
                &[upper, ("NO_PROXY", "localhost, .stuut.ai")],
                "off by NO_PROXY",
            ),
            (HTTPS, &[upper, ("no_proxy", "stuut.ai")], "off by no_proxy"),
            (HTTPS, &[upper, ("no_proxy", "*")], "off by no_proxy"),
            (
                HTTPS,
                &[upper, ("no_proxy", "::1, *.stuut.ai")],
                "off by no_proxy",
            ),
            (
                HTTPS,
                &[upper, ("NO_PROXY", "api.stuut.ai.:443")],
                "off by NO_PROXY",
            ),
            (
                HTTPS,
                &[upper, ("NO_PROXY", "api.stuut.ai:80,*.ai.test")],
                "http://p:1 by HTTPS_PROXY",
            ),
            (
                "https://10.1.2.3:8443",
                &[upper, ("NO_PROXY", "10.0.0.0/8")],
                "off by NO_PROXY",
            ),
            (HTTPS, &[("NO_PROXY", "*"), ("", "")], "direct"),
        ] {
            assert_eq!(way(origin, variables), expected, "{origin} {variables:?}");
        }
    }
}
