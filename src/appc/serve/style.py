"""What the pages look like. It is part of each page, so that a page is one file and loads nothing."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --quiet: #4c5560; --paper: #ffffff; --panel: #f3f5f7; --line: #c3c9d0;
  --link: #0b57a4; --good: #17602f; --bad: #9c1c1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e7eaee; --quiet: #aab3bd; --paper: #14171b; --panel: #1f242a; --line: #4a535d;
    --link: #8dbdf2; --good: #7fd39a; --bad: #ff9d94;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 0 1.25rem 2rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif;
}
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
main:focus { outline: none; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--paper); padding: .25rem .5rem; }
header { border-bottom: 1px solid var(--line); padding: 1rem 0; }
nav ol { display: flex; flex-wrap: wrap; gap: .25rem; margin: 0; padding: 0; list-style: none; }
nav li + li::before { content: "/"; margin-right: .25rem; color: var(--quiet); }
h1 { font-size: 1.75rem; line-height: 1.25; overflow-wrap: anywhere; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
.wide, pre { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--quiet); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); }
tbody th { font-weight: 600; overflow-wrap: anywhere; }
pre {
  background: var(--panel); border: 1px solid var(--line); border-radius: .3rem;
  padding: .7rem .9rem; margin: .5rem 0;
}
code { font: .9rem/1.5 ui-monospace, monospace; }
pre code { user-select: all; }
.manifest code { user-select: text; }
dl div { display: grid; grid-template-columns: minmax(7rem, 12rem) 1fr; gap: 1rem; padding: .25rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
.quiet, footer { color: var(--quiet); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); font-size: .9rem; }
@media (max-width: 36rem) { dl div { grid-template-columns: 1fr; gap: 0; } }
"""
