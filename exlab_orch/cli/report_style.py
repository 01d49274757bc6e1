"""How the page of a report looks: on a phone and on a wide screen, light and dark, and on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --ink: #19202c; --soft: #566072; --line: #d8dde6; --grid: #e6e9ef; --link: #1d4ed8;
  --bad: #b42318; --bad-soft: #fdefed; --good: #0f6b4f; --good-soft: #e8f5ef; --warn: #855000; --warn-soft: #fcf3e0;
  --arriving: #b07514; --copying: #2f6fde; --proved: #1d8a62; --problem: #d0342c;
  --c0: #2f6fde; --c1: #d9730d; --c2: #1d8a62; --c3: #8b5cd6;
  --c4: #c63d7f; --c5: #5c7a12; --c6: #0e7f92; --c7: #6b7280;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #10141b; --card: #19202b; --ink: #e7ebf2; --soft: #a5afbf; --line: #323c4b; --grid: #283140;
    --link: #8fb8ff;
    --bad: #ff9c91; --bad-soft: #351d1e; --good: #74d8ac; --good-soft: #15302a; --warn: #f0c778; --warn-soft: #33290f;
    --arriving: #dca347; --copying: #6fa5ff; --proved: #45bd88; --problem: #ff7c70;
    --c0: #6fa5ff; --c1: #f59e4c; --c2: #45bd88; --c3: #b394f5;
    --c4: #f07fb3; --c5: #a8c653; --c6: #4fc3d6; --c7: #9aa4b2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
}
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.625rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .25rem; letter-spacing: -.005em; }
h3 { font-size: 1rem; margin: 0; }
p { margin: 0; }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 4px; }
code, .name {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .9em;
}
.soft, .note { color: var(--soft); }
.note { font-size: .9375rem; margin: .25rem 0 0; max-width: 46rem; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .5rem .75rem; }
nav ul { list-style: none; margin: 1rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
nav a { display: inline-block; padding: .375rem 0; text-decoration: none; font-weight: 500; }
nav a:hover { text-decoration: underline; }
section { margin: 2.25rem 0 0; }
.card, .tiles > div {
  background: var(--card); border: 1px solid var(--line); border-radius: .625rem;
  padding: .875rem 1rem; margin: .75rem 0 0;
}
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 0;
}
.tiles > div { margin: 0; }
.tiles dt { font-size: .875rem; color: var(--soft); }
.tiles dd { margin: 0; }
.tiles dd.figure { font-size: 1.5rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.tiles dd + dd { font-size: .875rem; color: var(--soft); }
.tiles .bad dd.figure { color: var(--bad); }
.tiles .good dd.figure { color: var(--good); }
.trouble { border-left: 5px solid var(--problem); }
.trouble.mild { border-left-color: var(--arriving); }
time { white-space: nowrap; }
.trouble h3 { font-weight: 600; }
.trouble p { margin: .25rem 0 0; }
.code { color: var(--bad); font-weight: 600; }
.mild .code { color: var(--warn); }
.command { background: var(--page); border-radius: .375rem; padding: .375rem .625rem; }
.fine { background: var(--good-soft); color: var(--good); border-color: transparent; font-weight: 500; }
.told { background: var(--warn-soft); color: var(--warn); border-color: transparent; }
details { margin: .75rem 0 0; }
summary { cursor: pointer; padding: .375rem 0; color: var(--link); font-weight: 500; }
.strays { margin: .25rem 0 0; padding: 0 0 0 1.25rem; }
.strays li { margin: .25rem 0 0; }
.state { white-space: nowrap; border-radius: 1rem; padding: .0625rem .625rem; font-size: .8125rem; font-weight: 600;
  border: 1px solid currentColor; }
.state.arriving { color: var(--warn); }
.state.copying { color: var(--link); }
.state.proved { color: var(--good); }
.state.problem { color: var(--bad); }
.state.cleared { color: var(--soft); }
.group { margin: .75rem 0 0; padding-bottom: .375rem; }
.group details { margin: 0; }
.runs + details { border-top: 1px solid var(--grid); }
.runs { list-style: none; margin: .25rem 0 0; padding: 0; }
.run { padding: .625rem 0; border-top: 1px solid var(--grid); }
.run:first-child { border-top: 0; }
.run p, .wait p { font-size: .875rem; color: var(--soft); }
.run p.bad { color: var(--bad); }
.line { display: flex; flex-wrap: wrap; gap: .125rem .625rem; align-items: baseline; }
svg { display: block; width: 100%; overflow: visible; }
svg text { font: 12px/1 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--soft); }
.bar { margin: .375rem 0 .125rem; }
.grid { stroke: var(--grid); stroke-width: 1; }
.base { stroke: var(--line); stroke-width: 1; }
.end { stroke: var(--soft); stroke-width: 2; }
.middle { stroke: var(--ink); stroke-width: 2; }
.dot { fill: var(--copying); fill-opacity: .55; }
rect.arriving { fill: var(--arriving); }
rect.copying { fill: var(--copying); }
rect.proved { fill: var(--proved); }
rect.problem { fill: var(--problem); }
rect.track { fill: var(--grid); }
rect.used { fill: var(--copying); }
rect.used.tight { fill: var(--problem); }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.c4 { fill: var(--c4); } .c5 { fill: var(--c5); } .c6 { fill: var(--c6); } .c7 { fill: var(--c7); }
.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0 0; padding: 0;
  font-size: .875rem;
}
.legend li { display: flex; align-items: center; gap: .5rem; }
.legend svg { width: 14px; flex: none; }
.legend.wide svg { width: 26px; }
.plot { margin: 1.25rem 0 0; }
.wait { padding: .625rem 0; border-top: 1px solid var(--grid); }
.wait:first-child { border-top: 0; padding-top: .125rem; }
.disk + .disk { border-top: 1px solid var(--grid); margin-top: .75rem; padding-top: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0 0 .25rem; }
th, td {
  text-align: left; padding: .3125rem .75rem .3125rem 0; border-top: 1px solid var(--grid); vertical-align: top;
}
th:last-child, td:last-child { padding-right: 0; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; white-space: nowrap; }
footer { margin-top: 2.5rem; padding-bottom: 2.5rem; font-size: .875rem; color: var(--soft); }
footer dl { display: grid; grid-template-columns: 1fr; gap: .125rem .75rem; margin: .5rem 0 1rem; }
footer dt { color: var(--ink); font-weight: 500; }
footer dd { margin: 0 0 .375rem; max-width: 46rem; }
@media (max-width: 40rem) {
  svg text.minor { display: none; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .5rem; }
  .tiles dd.figure { font-size: 1.25rem; }
}
@media (min-width: 60rem) {
  .run, .wait, .axis {
    display: grid; grid-template-columns: minmax(0, 4fr) minmax(0, 3fr); column-gap: 2rem; align-items: center;
  }
  .axis svg { grid-column: 2; }
  footer dl { grid-template-columns: max-content 1fr; }
}
@media print {
  @page { margin: 14mm; }
  :root { --page: #fff; }
  body { font-size: 10pt; }
  header, main, footer { max-width: none; padding: 0 2px; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); gap: .375rem; }
  .tiles > div { padding: .5rem .625rem; }
  .tiles dd.figure { font-size: 1.125rem; }
  nav, .skip { display: none; }
  details:not([open]) > summary::after { content: " (folded: open it, then print)"; color: var(--soft); }
  svg, .state, .card { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .card, .tiles > div { border-radius: 0; }
  .trouble, .run, .wait, .disk, .plot, .tiles > div, tr { break-inside: avoid; }
  h2, h3, .axis, .legend, section > .note { break-after: avoid; }
  section { margin-top: 1.5rem; }
}
"""
