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
use crate::request::Routes;
use crate::version;

/// Bounds of the duration histograms: a hit takes about 50 µs, the origin up to its timeout.
pub(super) const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
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
            #[must_use]
            pub fn new(routes: &Routes) -> Self {
                let setup = Setup::new(routes);
                let [$( $field ),+] = &FAMILIES;
                Self {
                    $( $field: Instrument::register($field, &setup), )+
                    field_weights: FieldWeights::default(),
                    left_out: LeftOut::default(),
                    registry: setup.registry,
                }
            }

            /// The counts since the start.
            #[must_use]
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

/// The registry, and the routes for the labels of [`Requests`](super::Requests).
pub(super) struct Setup<'a> {
    pub(super) registry: Registry,
    pub(super) routes: &'a Routes,
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

    pub(super) fn counters(&self, family: &Family) -> IntCounterVec {
        self.add(IntCounterVec::new(family.opts(), family.labels))
    }

    fn gauges(&self, family: &Family) -> IntGaugeVec {
        self.add(IntGaugeVec::new(family.opts(), family.labels))
    }

    fn histograms(&self, family: &Family) -> HistogramVec {
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
    #[must_use]
    pub fn of(&self, label: L) -> &M {
        &self.children[label.index()]
    }
}

impl<L: Label> PerLabel<L, IntCounter> {
    pub(super) fn sum(&self, labels: &[L]) -> u64 {
        labels.iter().map(|label| self.of(*label).get()).sum()
    }
}

// === impl Instrument ===

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

impl Instrument for BuildInfo {
    const KIND: &'static str = IntGauge::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let info = setup.gauges(family);
        let labels = [version::VERSION, version::COMMIT, &version::FEATURES];
        info.with_label_values(&labels).set(1);
        Self
    }
}
