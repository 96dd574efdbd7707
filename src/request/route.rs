//! Routes: which paths are cacheable.

use crate::config::Route;
use crate::policy::RouteRule;

/// The compiled `cache.routes`.
#[derive(Clone, Debug)]
pub struct Routes {
    patterns: matchit::Router<usize>,
    routes: Vec<Route>,
}

/// The index of a route in `cache.routes`, and in the metrics by route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteId(pub usize);

impl Routes {
    /// Compiles the configured patterns.
    ///
    /// # Panics
    ///
    /// If two patterns conflict, which the configuration rejects.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut patterns = matchit::Router::new();
        for (index, route) in routes.iter().enumerate() {
            patterns
                .insert(route.path.as_str(), index)
                .expect("the configuration rejects conflicting routes");
        }
        Self {
            patterns,
            routes: routes.to_vec(),
        }
    }

    /// Returns the route of a path, compared byte for byte: it is neither decoded nor normalised.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<RouteId> {
        self.patterns
            .at(path)
            .ok()
            .map(|matched| RouteId(*matched.value))
    }

    /// Whether a 2xx to a request for this path proves that the origin accepts its token: the path is
    /// under the literal part of a route, before the first parameter. Elsewhere the origin may serve
    /// anyone.
    ///
    /// A path that the origin could read as another one, by dot segments or decoding, proves nothing;
    /// nor does one under a route that begins with a parameter, unless it matches the route.
    #[must_use]
    pub fn proves_acceptance(&self, path: &str) -> bool {
        if path.contains(['%', ';', '\\']) || path.contains("/..") {
            return false;
        }
        let is_under = |pattern: &str| {
            let literal = pattern.split('{').next().unwrap_or(pattern);
            let literal = literal.strip_suffix('/').unwrap_or(literal);
            let rest = path.strip_prefix(literal).filter(|_| !literal.is_empty());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.names().any(is_under) || self.find(path).is_some()
    }

    /// The rules of a route for lifetimes.
    #[must_use]
    pub fn rule(&self, route: RouteId) -> RouteRule {
        let Route { path, ttl } = &self.routes[route.0];
        let parameter = path.as_str().strip_prefix("/v1/calls/{");
        RouteRule {
            ttl: *ttl,
            is_call: parameter.is_some_and(|rest| !rest.contains(['/', '*'])),
        }
    }

    /// The pattern of a route.
    #[must_use]
    pub fn name(&self, route: RouteId) -> &str {
        self.routes[route.0].path.as_str()
    }

    /// The patterns of all routes, in the order of their ids.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.path.as_str())
    }

    /// The paths below this one that all paths of a route begin with: its literal segments, before the first
    /// parameter.
    pub fn literals_below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let literals = self.names().map(|pattern| match pattern.split_once('{') {
            Some((before, _)) => before.rsplit_once('/').unwrap_or_default().0,
            None => pattern,
        });
        literals.filter(move |literal| {
            let rest = literal.strip_prefix(path);
            rest.is_some_and(|rest| rest.starts_with(['/', ':']))
        })
    }

    /// The possible paths of a call: the routes with exactly one parameter, filled in.
    pub fn paths_of_call<'a>(&'a self, call_id: &'a str) -> impl Iterator<Item = String> + 'a {
        self.names().filter_map(move |pattern| {
            let (before, rest) = pattern.split_once('{')?;
            let (_, after) = rest.split_once('}')?;
            (!after.contains('{')).then(|| format!("{before}{call_id}{after}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, RoutePattern};

    #[test]
    fn routes_match_paths_byte_for_byte() {
        let routes = Routes::new(&Config::default().cache.routes);
        let cases = [
            ("/v1/calls/c1", true),
            ("/v1/calls/c%31", true),
            ("/v1/calls/", false),
            ("/v1/calls", false),
            ("/v1/calls/c1/", false),
            ("/v1/calls/c1/approve", false),
            ("/V1/calls/c1", false),
            ("//v1/calls/c1", false),
        ];
        for (path, expected) in cases {
            assert_eq!(routes.find(path).is_some(), expected, "{path}");
        }
    }

    #[test]
    fn acceptance_is_proven_under_the_literal_part_of_a_route() {
        let route = |path| Route {
            path: RoutePattern::parse(path).expect("a pattern"),
            ttl: None,
        };
        let routes = Routes::new(&[route("/v1/calls/{id}"), route("/{org}/notes/{id}")]);
        let cases = [
            ("/v1/calls/c1", true),
            ("/v1/calls", true),
            ("/v1/calls/", true),
            ("/v1/calls/c1/approve", true),
            ("/v1/callsigns", false),
            ("/v1/me", false),
            ("/V1/calls/c1", false),
            ("/", false),
            ("*", false),
            ("/acme/notes/7", true),
            ("/acme/notes", false),
            ("/v1/calls/../me", false),
            ("/v1/calls/..;/me", false),
            ("/v1/calls/%2e%2e/me", false),
            ("/v1/calls/..\\me", false),
        ];
        for (path, expected) in cases {
            assert_eq!(routes.proves_acceptance(path), expected, "{path}");
        }
    }

    #[test]
    fn a_call_id_fills_in_each_route_with_one_parameter() {
        let route = |path| Route {
            path: RoutePattern::parse(path).expect("a pattern"),
            ttl: None,
        };
        let routes = Routes::new(&[
            route("/v1/calls/{id}"),
            route("/v2/{org}/calls/{id}"),
            route("/x/{*rest}"),
        ]);
        let paths: Vec<_> = routes.paths_of_call("c1").collect();
        assert_eq!(paths, ["/v1/calls/c1", "/x/c1"]);
    }
}
