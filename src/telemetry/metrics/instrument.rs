//! Instruments: the kinds of metrics, and how a declaration of `metrics! {}` becomes one.

use std::marker::PhantomData;

use prometheus::core::{MetricVec, MetricVecBuilder};
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::label::Label;
use crate::request::{RouteId, Routes};
use crate::version;

/// Bounds of the duration histograms: ten per decade (the R10 series of ISO 3), so that a quantile is
/// off by at most 14 %. A hit takes about 50 µs, the origin up to its timeout.
#[rustfmt::skip]
pub(super) const SECONDS: &[f64] = &[
                                    2e-5, 2.5e-5, 3.15e-5, 4e-5, 5e-5, 6.3e-5, 8e-5,
    1e-4, 1.25e-4, 1.6e-4, 2e-4, 2.5e-4, 3.15e-4, 4e-4, 5e-4, 6.3e-4, 8e-4,
    1e-3, 1.25e-3, 1.6e-3, 2e-3, 2.5e-3, 3.15e-3, 4e-3, 5e-3, 6.3e-3, 8e-3,
    0.01, 0.0125,  0.016,  0.02, 0.025,  0.0315,  0.04, 0.05, 0.063,  0.08,
    0.1,  0.125,   0.16,   0.2,  0.25,   0.315,   0.4,  0.5,  0.63,   0.8,
    1.0,  1.25,    1.6,    2.0,  2.5,    3.15,    4.0,  5.0,  6.3,    8.0,
    10.0, 12.5,    16.0,   20.0, 25.0,   31.5,    40.0, 50.0, 63.0,
];

/// Bounds of the histograms of work on a body: pruning 40 KB takes about 30 µs.
pub(super) const WORK_SECONDS: &[f64] = &[0.000_01, 0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1];

/// A metric family, as declared.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name after the prefix `stuut_cache_`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Bounds of a histogram's buckets.
    pub(super) bounds: &'static [&'static [f64]],
    /// Its meaning, and what the operator can do.
    pub help: &'static str,
}

/// Declares the metrics, each once:
///
/// ```text
/// field: Type = "name" ["label", …] in BOUNDS, "help" => value: Type = read, …;
/// ```
///
/// The labels, the bounds of a histogram and the values of the `MetricsSnapshot` are optional;
/// `read` computes a value from the instrument. The macro generates the fields of `Metrics`,
/// documented by `help`, their registration, `FAMILIES` (the table of docs/metrics.md) and the
/// fields of `MetricsSnapshot`, which are also the keys of `/stats`.
macro_rules! metrics {
    ($(
        $field:ident: $type:ty = $name:literal $([$($label:literal),+])? $(in $bounds:ident)?,
            $help:literal $(=> $($value:ident: $count:ty = $read:expr),+)?;
    )+) => {
        /// Every metric of the proxy. Labelled children are resolved at the start, so that counting
        /// is one addition.
        #[derive(Debug)]
        #[expect(clippy::doc_markdown, reason = "the help is plain text")]
        pub struct Metrics {
            $( #[doc = $help] pub $field: $type, )+
            /// The largest fields of responses; not a metric, since names are not a closed set.
            pub field_weights: FieldWeights,
            /// The request fields that fetches do not forward, by name; for `/explain`.
            pub left_out: LeftOut,
            /// Why requests were not hits, by key; for `/explain`.
            pub reasons: Reasons,
            registry: Registry,
        }

        /// Every family, in the order of docs/metrics.md.
        pub const FAMILIES: [Family; [$( $name ),+].len()] = [$( Family {
            name: $name,
            kind: <$type as Instrument>::KIND,
            labels: &[$( $( $label ),+ )?],
            bounds: &[$( $bounds )?],
            help: $help,
        } ),+];

        impl Metrics {
            /// Registers every metric.
            ///
            /// # Panics
            ///
            /// If a name is declared twice or is invalid; any test would show it.
            pub fn new(routes: &Routes) -> Self {
                let setup = Setup::new(routes);
                let [$( $field ),+] = &FAMILIES;
                Self {
                    $( $field: Instrument::register($field, &setup), )+
                    field_weights: FieldWeights::default(),
                    left_out: LeftOut::default(),
                    reasons: Reasons::default(),
                    registry: setup.registry,
                }
            }

            /// The counts since the start.
            pub fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $( $( $( $value: {
                    let read: fn(&$type) -> $count = $read;
                    read(&self.$field)
                }, )+ )? )+ }
            }
        }

        /// The counts shown by `/stats`: since the start or, as a difference, in a span of time.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct MetricsSnapshot {
            $( $( $(
                #[doc = concat!("Read from [`Metrics::", stringify!($field), "`].")]
                pub $value: $count,
            )+ )? )+
        }

        impl MetricsSnapshot {
            fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
                Self { $( $( $( $value: self.$value.zip(&other.$value, with), )+ )? )+ }
            }
        }
    };
}

pub(super) use metrics;

/// The registry, and the routes for the label `route`.
pub(super) struct Setup<'a> {
    pub(super) registry: Registry,
    routes: &'a Routes,
}

/// A type that can be declared in `metrics! {}`.
pub(super) trait Instrument: Sized {
    const KIND: &'static str;

    fn register(family: &Family, setup: &Setup<'_>) -> Self;
}

/// One instrument for each value of a closed enum.
#[derive(Debug)]
pub struct PerLabel<L, M> {
    children: Box<[M]>,
    labels: PhantomData<L>,
}

/// One instrument for each route; the last is for requests without one.
#[derive(Debug)]
pub struct PerRoute<M>(Box<[M]>);

/// `build_info`: its only child is 1.
#[derive(Debug)]
pub struct BuildInfo;

const NO_LABELS: &[&str] = &[];

// === impl Setup ===

impl<'a> Setup<'a> {
    /// A registry with the metrics of the process: memory, file descriptors, CPU.
    pub(super) fn new(routes: &'a Routes) -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("an empty registry accepts any family");
        Self { registry, routes }
    }

    /// The values of the label `route`.
    pub(super) fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.names().chain(["other"])
    }

    pub(super) fn counters(&self, family: &Family) -> IntCounterVec {
        self.add(IntCounterVec::new(family.opts(), family.labels))
    }

    fn gauges(&self, family: &Family) -> IntGaugeVec {
        self.add(IntGaugeVec::new(family.opts(), family.labels))
    }

    pub(super) fn histograms(&self, family: &Family) -> HistogramVec {
        let opts = HistogramOpts::from(family.opts()).buckets(family.bounds.concat());
        self.add(HistogramVec::new(opts, family.labels))
    }

    fn add<B: MetricVecBuilder + 'static>(
        &self,
        declared: prometheus::Result<MetricVec<B>>,
    ) -> MetricVec<B> {
        let vec = declared.expect("declared names and labels are valid");
        let registered = self.registry.register(Box::new(vec.clone()));
        registered.expect("each family is declared once");
        vec
    }
}

impl Family {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help).namespace("stuut_cache")
    }
}

// === impl PerLabel ===

impl<L: Label, M> PerLabel<L, M> {
    pub(super) fn new(child: impl Fn(&[&str]) -> M) -> Self {
        Self {
            children: L::ALL
                .iter()
                .map(|label| child(&[label.as_str()]))
                .collect(),
            labels: PhantomData,
        }
    }

    /// The instrument of this value.
    pub fn of(&self, label: L) -> &M {
        &self.children[label.index()]
    }
}

impl<L: Label> PerLabel<L, IntCounter> {
    pub(super) fn sum(&self, labels: &[L]) -> u64 {
        labels.iter().map(|label| self.of(*label).get()).sum()
    }
}

// === impl PerRoute ===

impl<M> PerRoute<M> {
    pub(super) fn new(routes: impl Iterator<Item = M>) -> Self {
        Self(routes.collect())
    }

    /// Every route, and none.
    pub(super) fn ids(&self) -> impl Iterator<Item = Option<RouteId>> + use<M> {
        let routes = (0..self.0.len() - 1).map(|at| Some(RouteId(at)));
        routes.chain([None])
    }

    /// The instrument of this route.
    pub fn of(&self, route: Option<RouteId>) -> &M {
        &self.0[route.map_or(self.0.len() - 1, |route| route.0)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &M> {
        self.0.iter()
    }
}

// === impl Instrument ===

impl Instrument for PerRoute<Histogram> {
    const KIND: &'static str = Histogram::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let vec = setup.histograms(family);
        Self::new(setup.routes().map(|route| vec.with_label_values(&[route])))
    }
}

macro_rules! instruments {
    ($( $type:ident, $kind:literal, $register:ident; )+) => { $(
        impl Instrument for $type {
            const KIND: &'static str = $kind;

            fn register(family: &Family, setup: &Setup<'_>) -> Self {
                setup.$register(family).with_label_values(NO_LABELS)
            }
        }

        impl<L: Label> Instrument for PerLabel<L, $type> {
            const KIND: &'static str = $kind;

            fn register(family: &Family, setup: &Setup<'_>) -> Self {
                let vec = setup.$register(family);
                Self::new(|label| vec.with_label_values(label))
            }
        }
    )+ };
}

instruments! {
    IntCounter, "counter", counters;
    IntGauge, "gauge", gauges;
    Histogram, "histogram", histograms;
}

/// Counters whose labels are only known at run time; the operator chooses them.
impl Instrument for IntCounterVec {
    const KIND: &'static str = IntCounter::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        setup.counters(family)
    }
}

impl Instrument for BuildInfo {
    const KIND: &'static str = IntGauge::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let info = setup.gauges(family);
        let labels = [version::VERSION, version::COMMIT, &version::FEATURES];
        info.with_label_values(&labels).set(1);
        Self
    }
}
