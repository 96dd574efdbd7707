// Formats numbers for people. "–" means unknown.

const exact = new Intl.NumberFormat("en");

export const count = (value) => exact.format(value);

export function rate(value) {
  if (value >= 10_000) return `${(value / 1000).toFixed(0)} k`;
  if (value >= 1000) return `${(value / 1000).toFixed(1)} k`;
  return value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

export function seconds(value) {
  if (value == null) return "–";
  if (value < 0) return `−${seconds(-value)}`;
  if (value === 0) return "0 s";
  if (value < 0.000_999_5) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 0.999_5) return `${(value * 1e3).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

export function percent(value) {
  if (value == null) return "–";
  // Never 100 % for less than all, nor 0 % for more than none.
  if (value > 0.999 && value < 1) return "99.9 %";
  if (value > 0 && value < 0.001) return "0.1 %";
  return `${(value * 100).toFixed(value === 0 || value === 1 ? 0 : 1)} %`;
}

export function span(value) {
  const [days, hours, minutes] = [Math.floor(value / 86400), Math.floor(value / 3600) % 24, Math.floor(value / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${Math.floor(value) % 60} s` : `${Math.floor(value)} s`;
}
