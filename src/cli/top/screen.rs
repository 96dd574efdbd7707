//! Draws the model; independent of the terminal and of the proxy.

use std::cmp::Reverse;

use ratatui::Frame;
use ratatui::layout::Constraint::{Length, Min, Percentage, Ratio};
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};

use super::model::{Model, failing, float, rate};
use crate::admin::{Note, Severity};
use crate::cli::stats_document::{Busy, Counts, Quantiles, StatsDocument, line};
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;
use crate::units::{self, bytes, count, percent, seconds, span};

/// Minimum width for two columns.
const TWO_COLUMNS: u16 = 80;

/// Minimum width for the busiest scopes beside the busiest paths: below, a path would have no room.
const SIDE_BY_SIDE: u16 = 150;

/// Height of the box of the last minute, and of the graphs.
const MINUTE_HEIGHT: u16 = 11;
const GRAPHS_HEIGHT: u16 = 13;

/// Height of the boxes of the busiest scopes and paths, and the least height of a window that has them.
const BUSIEST_HEIGHT: u16 = 12;
const MIN_BUSIEST: u16 = 36;

/// Height of the box of outcomes.
const OUTCOMES_HEIGHT: u16 = 12;

pub(super) fn draw(frame: &mut Frame, model: &Model) {
    let notes = model.notes();
    let height = u16::try_from(notes.len()).unwrap_or(1);
    let [title, attention, rest] =
        Layout::vertical([Length(1), Length(height), Min(0)]).areas(frame.area());
    frame.render_widget(headline(model), title);
    let notes = notes.iter().map(note);
    frame.render_widget(Paragraph::new(notes.collect::<Vec<_>>()), attention);
    let busiest_height = if rest.height >= MIN_BUSIEST {
        BUSIEST_HEIGHT
    } else {
        0
    };
    let [rest, busiest] = Layout::vertical([Min(0), Length(busiest_height)]).areas(rest);
    let halves = [Percentage(50), Percentage(50)];
    let [callers, keys] = if busiest.width >= SIDE_BY_SIDE {
        Layout::horizontal(halves).areas(busiest)
    } else {
        Layout::vertical(halves).areas(busiest)
    };
    busy(
        frame,
        callers,
        "Callers with the most requests",
        &model.stats.callers,
    );
    busy(
        frame,
        keys,
        "Paths with the most requests",
        &model.stats.keys,
    );
    if rest.width >= TWO_COLUMNS {
        let [left, right] = Layout::horizontal([Percentage(50), Percentage(50)]).areas(rest);
        let [minute, counts] = Layout::vertical([Length(MINUTE_HEIGHT), Min(0)]).areas(left);
        let [lines, fields] = Layout::vertical([Length(GRAPHS_HEIGHT), Min(0)]).areas(right);
        last_minute(frame, minute, model);
        outcomes(frame, counts, model);
        graphs(frame, lines, model);
        heaviest(frame, fields, model);
    } else {
        let [minute, counts, fields] =
            Layout::vertical([Length(MINUTE_HEIGHT), Length(OUTCOMES_HEIGHT), Min(0)]).areas(rest);
        last_minute(frame, minute, model);
        outcomes(frame, counts, model);
        heaviest(frame, fields, model);
    }
}

fn headline(model: &Model) -> Line<'_> {
    let up = span(model.stats.uptime_seconds);
    Line::from(vec![
        Span::from(format!(" stuut-cache {} ", model.stats.version)).bold(),
        Span::from(format!(" q quits · up {up} · {}", model.address)),
    ])
}

fn note(note: &Note) -> Line<'static> {
    let colour = match note.severity {
        Severity::Good => Color::Green,
        Severity::Neutral => Color::Reset,
        Severity::Warning => Color::Yellow,
        Severity::Bad => Color::Red,
    };
    Line::from(format!(" {}", line(note))).style(Style::new().fg(colour).bold())
}

fn last_minute(frame: &mut Frame, area: Rect, model: &Model) {
    let block = Block::bordered().title(" Last minute ");
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let [table, codes, gauge] = Layout::vertical([Length(7), Length(1), Length(1)]).areas(inside);
    let (minute, total) = (&model.stats.last_minute, &model.stats.total);
    let requests = rate(minute, minute.all_requests());
    let latency = |quantiles: Option<Quantiles>| {
        let p99 = |times: Quantiles| format!("p99 {}", seconds(Some(times.p99)));
        (
            seconds(quantiles.map(|times| times.p50)),
            quantiles.map(p99).unwrap_or_default(),
        )
    };
    let (hit, hit_more) = latency(minute.hit_seconds);
    let (fetch, fetch_more) = latency(minute.fetch_seconds);
    let (origin, origin_more) = latency(minute.origin_seconds);
    let (errors, all) = (count(minute.origin_errors), count(minute.origin_requests));
    let saved = bytes(minute.memory_bytes + minute.view_bytes + minute.coding_bytes);
    let rows = [
        (
            "hit ratio",
            percent(minute.hit_ratio),
            format!("{} in all", percent(total.hit_ratio)),
        ),
        (
            "requests",
            format!("{} /s", units::rate(requests)),
            in_flight(&model.stats),
        ),
        ("hit latency", hit, hit_more),
        ("fetch latency", fetch, fetch_more),
        ("origin latency", origin, origin_more),
        (
            "origin errors",
            percent(failing(minute)),
            format!("{errors} of {all}"),
        ),
        ("bytes saved", saved, "cache, views, compression".to_owned()),
    ];
    let rows = rows.map(|(name, value, more)| {
        Row::new([
            Span::from(name).dim(),
            Span::from(value).bold(),
            Span::from(more).dim(),
        ])
    });
    let widths = [Length(14), Length(9), Min(0)];
    frame.render_widget(Table::new(rows, widths), table);
    statuses(frame, codes, minute);
    memory(frame, gauge, model);
}

fn in_flight(stats: &StatsDocument) -> String {
    let in_flight = count(stats.in_flight);
    match stats.waiting {
        0 => format!("{in_flight} in flight"),
        waiting => format!("{in_flight} in flight, {} waiting", count(waiting)),
    }
}

/// The most frequent statuses first.
fn statuses(frame: &mut Frame, area: Rect, minute: &Counts) {
    let mut counts: Vec<_> = minute.statuses.iter().collect();
    counts.sort_by_key(|(_, times)| Reverse(**times));
    let counts = counts.iter();
    let counts = counts.map(|(status, times)| format!("{status}: {}", count(**times)));
    let line = Line::from(vec![
        Span::from("statuses       ").dim(),
        Span::from(counts.collect::<Vec<_>>().join(", ")),
    ]);
    frame.render_widget(line, area);
}

fn memory(frame: &mut Frame, area: Rect, model: &Model) {
    let cache = &model.stats.cache;
    let share = float(cache.weight_bytes) / float(cache.capacity_bytes.max(1));
    let (weight, capacity) = (bytes(cache.weight_bytes), bytes(cache.capacity_bytes));
    let [name, gauge] = Layout::horizontal([Length(15), Min(0)]).areas(area);
    frame.render_widget(Span::from("memory").dim(), name);
    let bar = Gauge::default()
        .gauge_style(Style::new().fg(Color::Blue).bg(Color::DarkGray))
        .ratio(share.clamp(0.0, 1.0))
        .label(format!("{weight} of {capacity}"));
    frame.render_widget(bar, gauge);
}

fn outcomes(frame: &mut Frame, area: Rect, model: &Model) {
    let (minute, total) = (&model.stats.last_minute, &model.stats.total);
    // A small window leaves out those without requests.
    let mut shown = OutcomeLabel::ALL.to_vec();
    shown.sort_by_key(|outcome| total.requests(outcome.as_str()) == 0);
    let rows = shown.into_iter().map(|outcome| {
        let name = outcome.as_str();
        Row::new([
            Line::from(name).style(colour(outcome)),
            Line::from(count(minute.requests(name))).right_aligned(),
            Line::from(count(total.requests(name))).right_aligned(),
        ])
    });
    let widths = [Min(10), Length(12), Length(14)];
    let columns = Line::from(" last minute ── since start ").right_aligned();
    let block = Block::bordered().title(" Outcomes ");
    let table = Table::new(rows, widths).block(block.title(columns));
    frame.render_widget(table, area);
}

fn colour(outcome: OutcomeLabel) -> Style {
    Style::new().fg(match outcome {
        OutcomeLabel::Hit => Color::Green,
        OutcomeLabel::Stale | OutcomeLabel::Expired => Color::Yellow,
        OutcomeLabel::Miss | OutcomeLabel::Collapsed => Color::Cyan,
        OutcomeLabel::Waited => Color::Blue,
        OutcomeLabel::Bypass | OutcomeLabel::Aborted => Color::Reset,
        OutcomeLabel::Refused => Color::Magenta,
        OutcomeLabel::Failed => Color::Red,
    })
}

/// A sparkline of the points of the history.
struct Graph {
    name: &'static str,
    of: fn(&Counts) -> Option<f64>,
    text: fn(Option<f64>) -> String,
    colour: Color,
    /// The end of its scale, if that does not depend on the values.
    max: Option<u64>,
}

const GRAPHS: [Graph; 4] = [
    Graph {
        name: "requests",
        of: |point| Some(rate(point, point.all_requests())),
        text: per_second,
        colour: Color::Cyan,
        max: None,
    },
    Graph {
        name: "hit ratio",
        of: |point| point.hit_ratio,
        text: percent,
        colour: Color::Green,
        max: Some(WHOLE),
    },
    Graph {
        name: "fetch latency",
        of: |point| point.fetch_seconds.map(|times| times.p50),
        text: seconds,
        colour: Color::Yellow,
        max: None,
    },
    Graph {
        name: "origin errors",
        of: |point| Some(rate(point, point.origin_errors)),
        text: per_second,
        colour: Color::Red,
        max: None,
    },
];

fn per_second(rate: Option<f64>) -> String {
    format!("{} /s", units::rate(rate.unwrap_or(0.0)))
}

/// The seconds of the history, always with the newest at the right edge.
fn graphs(frame: &mut Frame, area: Rect, model: &Model) {
    let newest = model.points.last().cloned().unwrap_or_default();
    let areas: [Rect; 4] = Layout::vertical([Ratio(1, 4); 4]).areas(area);
    for (graph, area) in GRAPHS.iter().zip(areas) {
        let width = usize::from(area.width.saturating_sub(1));
        let recent = &model.points[model.points.len().saturating_sub(width)..];
        let used = u16::try_from(recent.len()).unwrap_or(area.width);
        let [title, line] = Layout::vertical([Length(1), Min(0)]).areas(area);
        let [_, line] = Layout::horizontal([Min(0), Length(used)]).areas(line);
        let text = (graph.text)((graph.of)(&newest));
        frame.render_widget(Line::from(format!(" {} {text}", graph.name)).dim(), title);
        let values = recent.iter().map(graph.of);
        let values = values.map(|value| value.map(|value| whole(value * SCALE)));
        let sparkline = Sparkline::default()
            .style(Style::new().fg(graph.colour))
            .data(values.collect::<Vec<_>>());
        frame.render_widget(
            match graph.max {
                Some(max) => sparkline.max(max),
                None => sparkline,
            },
            line,
        );
    }
}

/// Sparklines take integers: rates, shares and seconds are scaled up.
const SCALE: f64 = 1e6;

/// A share of 1, scaled.
const WHOLE: u64 = 1_000_000;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates, shares and seconds: small, and not negative"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn heaviest(frame: &mut Frame, area: Rect, model: &Model) {
    let fields = &model.stats.fields;
    let title = if fields.heaviest.is_empty() {
        " Largest fields: none yet ".to_owned()
    } else {
        let size = bytes(whole(fields.body_bytes));
        format!(" Largest fields of a call of {size} ")
    };
    let widths = &[Min(12), Length(9), Length(7), Length(14)];
    // A narrow box has no bars: the names of parts differ only at their ends.
    let (columns, others) = [(3, 20), (4, 35)][usize::from(area.width >= 50)];
    let room = usize::from(area.width).saturating_sub(others);
    let rows = fields.heaviest.iter().map(|field| {
        let length = usize::try_from(whole(field.share * 20.0)).unwrap_or(0);
        Row::new([
            Line::from(shortened(&field.name, room.max(12))),
            Line::from(bytes(whole(field.bytes))).right_aligned(),
            Line::from(percent(Some(field.share))).right_aligned(),
            Line::from("█".repeat(length)).style(Style::new().fg(Color::Yellow)),
        ])
    });
    let table = Table::new(rows, &widths[..columns]).block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// The end of a name that is too wide: in a path, it has the id of the call.
fn shortened(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let end = name.chars().skip(length + 1 - width);
    std::iter::once('…').chain(end).collect()
}

fn busy(frame: &mut Frame, area: Rect, title: &str, busiest: &[Busy]) {
    // In a narrow window a name has the room of the last three columns.
    let columns = if area.width < TWO_COLUMNS { 2 } else { 5 };
    let widths = &[Min(10), Length(9), Length(6), Length(8), Length(9)][..columns];
    // Without the other columns, the spaces before them, and the border.
    let room = usize::from(area.width).saturating_sub([12, 38][usize::from(columns > 2)]);
    let rows = busiest.iter().map(|busy| {
        let name = busy.name.as_ref().unwrap_or(&busy.key);
        let name = match busy.waiting {
            0 => name.clone(),
            waiting => format!("{name} ({waiting} waiting)"),
        };
        let right = |text: String| Line::from(text).right_aligned();
        Row::new([
            Line::from(shortened(&name, room.max(10))),
            right(count(busy.requests)),
            right(percent(busy.hit_ratio)),
            right(count(busy.origin_requests)),
            right(bytes(busy.bytes)),
        ])
    });
    let head =
        ["", "requests", "hits", "origin", "sent"].map(|name| Line::from(name).right_aligned());
    let table = Table::new(rows, widths)
        .header(Row::new(head).dim())
        .block(Block::bordered().title(format!(" {title} ")));
    frame.render_widget(table, area);
}
