//! The screen: from what has been seen to characters; knows of no terminal and no proxy.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};

use super::seen::{Seen, Weight, failing, float, rate};
use crate::cli::feed::{Counted, Quantiles};
use crate::cli::figures::{self, bytes, count, percent, seconds, span};
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;

/// From this width on, two columns.
const WIDE: u16 = 80;

/// Lines of the box of the last minute.
const MINUTE: u16 = 9;

/// Lines of the box of outcomes.
const OUTCOMES: u16 = 12;

pub(super) fn draw(frame: &mut Frame, seen: &Seen) {
    let notes = seen.notes();
    let tall = u16::try_from(notes.len()).unwrap_or(1);
    let [title, said, rest] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(tall),
        Constraint::Min(0),
    ])
    .areas(frame.area());
    frame.render_widget(headline(seen), title);
    let notes: Vec<_> = notes
        .into_iter()
        .map(|(weight, text)| note(weight, &text))
        .collect();
    frame.render_widget(Paragraph::new(notes), said);
    if rest.width >= WIDE {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)])
                .areas(rest);
        let [minute, counts] =
            Layout::vertical([Constraint::Length(MINUTE), Constraint::Min(0)]).areas(left);
        let [lines, fields] =
            Layout::vertical([Constraint::Length(MINUTE + 4), Constraint::Min(0)]).areas(right);
        last_minute(frame, minute, seen);
        outcomes(frame, counts, seen);
        traces(frame, lines, seen);
        heaviest(frame, fields, seen);
    } else {
        let [minute, counts, fields] = Layout::vertical([
            Constraint::Length(MINUTE),
            Constraint::Length(OUTCOMES),
            Constraint::Min(0),
        ])
        .areas(rest);
        last_minute(frame, minute, seen);
        outcomes(frame, counts, seen);
        heaviest(frame, fields, seen);
    }
}

fn headline(seen: &Seen) -> Line<'_> {
    let (state, colour) = match (&seen.silence, seen.stats.ready) {
        (Some(_), _) => ("no answer", Color::Red),
        (None, true) => ("serving", Color::Green),
        (None, false) => ("draining", Color::Yellow),
    };
    Line::from(vec![
        Span::from(format!(" stuut-cache {} ", seen.stats.version)).bold(),
        Span::from(format!(" {state} ")).fg(Color::Black).bg(colour),
        Span::from(format!(
            " q quits · up {} · {}",
            span(seen.uptime()),
            seen.address
        )),
    ])
}

fn note(weight: Weight, text: &str) -> Line<'static> {
    let (sign, colour) = match weight {
        Weight::Good => ("✓", Color::Green),
        Weight::Warning => ("!", Color::Yellow),
        Weight::Bad => ("✗", Color::Red),
    };
    Line::from(format!(" {sign} {text}"))
        .style(Style::new().fg(colour).add_modifier(Modifier::BOLD))
}

fn last_minute(frame: &mut Frame, area: Rect, seen: &Seen) {
    let block = Block::bordered().title(" Last minute ");
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let [table, gauge] =
        Layout::vertical([Constraint::Length(6), Constraint::Length(1)]).areas(inside);
    let (minute, total) = (&seen.stats.last_minute, &seen.stats.total);
    let requests = rate(minute, minute.all_requests());
    let taken = |quantiles: Option<Quantiles>| {
        let p99 = |taken: Quantiles| format!("p99 {}", seconds(Some(taken.p99)));
        (
            seconds(quantiles.map(|taken| taken.p50)),
            quantiles.map(p99).unwrap_or_default(),
        )
    };
    let (hit, hit_more) = taken(minute.hit_seconds);
    let (miss, miss_more) = taken(minute.miss_seconds);
    let errors = format!(
        "{} of {}",
        count(minute.origin_errors),
        count(minute.origin_requests)
    );
    let saved = bytes(minute.memory_bytes + minute.view_bytes + minute.coding_bytes);
    let rows = [
        (
            "hit ratio",
            percent(minute.hit_ratio),
            format!("{} since start", percent(total.hit_ratio)),
        ),
        (
            "requests",
            format!("{} /s", figures::rate(requests)),
            format!("{} in flight", count(seen.stats.in_flight)),
        ),
        ("a hit takes", hit, hit_more),
        ("a miss takes", miss, miss_more),
        ("origin errors", percent(failing(minute)), errors),
        ("bytes saved", saved, "cache, views, codings".to_owned()),
    ];
    let rows = rows.map(|(name, value, more)| {
        Row::new([
            Span::from(name).dim(),
            Span::from(value).bold(),
            Span::from(more).dim(),
        ])
    });
    let widths = [
        Constraint::Length(13),
        Constraint::Length(10),
        Constraint::Min(0),
    ];
    frame.render_widget(Table::new(rows, widths), table);
    let cache = &seen.stats.cache;
    let share = float(cache.weight_bytes) / float(cache.capacity_bytes.max(1));
    let label = format!(
        "{} of {}",
        bytes(cache.weight_bytes),
        bytes(cache.capacity_bytes)
    );
    let [name, gauge] =
        Layout::horizontal([Constraint::Length(14), Constraint::Min(0)]).areas(gauge);
    frame.render_widget(Span::from("memory").dim(), name);
    let memory = Gauge::default()
        .gauge_style(Style::new().fg(Color::Blue).bg(Color::DarkGray))
        .ratio(share.clamp(0.0, 1.0))
        .label(label);
    frame.render_widget(memory, gauge);
}

fn outcomes(frame: &mut Frame, area: Rect, seen: &Seen) {
    let (minute, total) = (&seen.stats.last_minute, &seen.stats.total);
    let rows = OutcomeLabel::ALL.iter().map(|outcome| {
        let name = outcome.as_str();
        Row::new([
            Line::from(name).style(colour(*outcome)),
            Line::from(count(minute.requests(name))).right_aligned(),
            Line::from(count(total.requests(name))).right_aligned(),
        ])
    });
    let widths = [
        Constraint::Min(10),
        Constraint::Length(12),
        Constraint::Length(14),
    ];
    let head = [
        Line::from("outcome"),
        Line::from("last minute").right_aligned(),
        Line::from("since start").right_aligned(),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(head).dim())
        .block(Block::bordered().title(" Requests by outcome "));
    frame.render_widget(table, area);
}

fn colour(outcome: OutcomeLabel) -> Style {
    Style::new().fg(match outcome {
        OutcomeLabel::Hit => Color::Green,
        OutcomeLabel::Stale | OutcomeLabel::Expired => Color::Yellow,
        OutcomeLabel::Miss | OutcomeLabel::Collapsed => Color::Cyan,
        OutcomeLabel::Bypass | OutcomeLabel::Aborted => Color::Reset,
        OutcomeLabel::Refused => Color::Magenta,
        OutcomeLabel::Failed => Color::Red,
    })
}

/// A line through the points of the history.
struct Trace {
    title: String,
    of: fn(&Counted) -> Option<f64>,
    colour: Color,
    /// Where its scale ends, if that does not depend on what is shown.
    most: Option<u64>,
}

/// The seconds of the history, the newest at the right edge, however few there are.
fn traces(frame: &mut Frame, area: Rect, seen: &Seen) {
    let newest = seen.points.last().cloned().unwrap_or_default();
    let requests = |point: &Counted| rate(point, point.all_requests());
    let errors = |point: &Counted| rate(point, point.origin_errors);
    let miss = |point: &Counted| point.miss_seconds.map(|taken| taken.p50);
    let traces = [
        Trace {
            title: format!("requests {} /s", figures::rate(requests(&newest))),
            of: |point| Some(rate(point, point.all_requests())),
            colour: Color::Cyan,
            most: None,
        },
        Trace {
            title: format!("hit ratio {}", percent(newest.hit_ratio)),
            of: |point| point.hit_ratio,
            colour: Color::Green,
            most: Some(FINE),
        },
        Trace {
            title: format!("a miss takes {}", seconds(miss(&newest))),
            of: |point| point.miss_seconds.map(|taken| taken.p50),
            colour: Color::Yellow,
            most: None,
        },
        Trace {
            title: format!("origin errors {} /s", figures::rate(errors(&newest))),
            of: |point| Some(rate(point, point.origin_errors)),
            colour: Color::Red,
            most: None,
        },
    ];
    let areas: [Rect; 4] = Layout::vertical([Constraint::Ratio(1, 4); 4]).areas(area);
    for (trace, area) in traces.into_iter().zip(areas) {
        let room = usize::from(area.width.saturating_sub(1));
        let recent = &seen.points[seen.points.len().saturating_sub(room)..];
        let used = u16::try_from(recent.len()).unwrap_or(area.width);
        let [title, line] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let [_, line] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(used)]).areas(line);
        frame.render_widget(Line::from(format!(" {}", trace.title)).dim(), title);
        let values = recent
            .iter()
            .map(|point| (trace.of)(point).map(|value| whole(value * SCALE)));
        let sparkline = Sparkline::default()
            .style(Style::new().fg(trace.colour))
            .data(values.collect::<Vec<_>>());
        frame.render_widget(
            match trace.most {
                Some(most) => sparkline.max(most),
                None => sparkline,
            },
            line,
        );
    }
}

/// Sparklines are of whole numbers: rates, shares and seconds are scaled up to have digits.
const SCALE: f64 = 1e6;

/// All of a share, scaled.
const FINE: u64 = 1_000_000;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates, shares and seconds: small, and not negative"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn heaviest(frame: &mut Frame, area: Rect, seen: &Seen) {
    let fields = &seen.stats.fields;
    let title = if fields.heaviest.is_empty() {
        " Heaviest fields: none yet ".to_owned()
    } else {
        format!(
            " Heaviest fields of a call of {} ",
            bytes(whole(fields.body_bytes))
        )
    };
    let rows = fields.heaviest.iter().map(|field| {
        let length = usize::try_from(whole(field.share * 20.0)).unwrap_or(0);
        Row::new([
            Line::from(field.name.as_str()),
            Line::from(bytes(whole(field.bytes))).right_aligned(),
            Line::from(percent(Some(field.share))).right_aligned(),
            Line::from("█".repeat(length)).style(Style::new().fg(Color::Yellow)),
        ])
    });
    let widths = [
        Constraint::Min(12),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(14),
    ];
    let table = Table::new(rows, widths).block(Block::bordered().title(title));
    frame.render_widget(table, area);
}
