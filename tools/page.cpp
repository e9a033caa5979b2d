// SPDX-License-Identifier: MIT
#include "page.h"

#include "error.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

const char kStyle[] = R"css(
:root {
  color-scheme: light;
  --page: #f5f6f8; --card: #ffffff; --ink: #1a2029; --soft: #5a6472; --line: #dde1e7;
  --accent: #1f5fbf; --bar: #bcd3f2; --mark: #c2410c;
}
:root[data-theme=dark] {
  color-scheme: dark;
  --page: #0e1116; --card: #171b22; --ink: #e6eaf0; --soft: #97a2b1; --line: #2b323d;
  --accent: #7db7ff; --bar: #264a78; --mark: #ffa35c;
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 1.25rem clamp(.75rem, 2.5vw, 2.5rem) 3rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main, header { max-width: 1500px; margin: 0 auto; }
h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .25rem 0; }
button { font: inherit; color: inherit; cursor: pointer; }
.top { display: flex; gap: 1rem; align-items: flex-start; justify-content: space-between; }
.soft, small { color: var(--soft); }
#theme { border: 1px solid var(--line); background: var(--card); border-radius: 8px;
  padding: .3rem .7rem; white-space: nowrap; }
details { margin: .5rem 0 1rem; max-width: 90ch; }
summary { cursor: pointer; color: var(--accent); width: max-content; max-width: 100%; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: .9rem 1rem; min-width: 0; }
.heading { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1rem; }
.scroll { overflow: auto; max-height: 92vh; position: relative; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th { text-align: left; font-weight: 500; color: var(--soft); position: sticky; top: 0;
  background: var(--card); }
th, td { padding: .12rem .35rem; border-bottom: 1px solid var(--line); }
td.n { color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; }
)css";

const char kPrintStyle[] = R"css(@media print {
  #theme, header details { display: none; } .scroll { max-height: none; }
}
)css";

// Before anything is drawn.
const char kThemeChoice[] = R"html(<script>
// #dark and #light force a theme.
(() => {
  const forced = /(?:^#|&)(dark|light)(?=&|$)/.exec(location.hash);
  document.documentElement.dataset.theme = forced ? forced[1]
    : matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
})();
</script>
)html";

}  // namespace

const char kPageScript[] = R"js('use strict';
const at = (id) => document.getElementById(id);
const root = document.documentElement;

function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function useTheme(draw) {
  let forced = /(?:^#|&)(?:dark|light)(?=&|$)/.test(location.hash);
  function show(theme) {
    root.dataset.theme = theme;
    const other = theme === 'dark' ? 'light' : 'dark';
    at('theme').textContent = theme === 'dark' ? '☀ light' : '☾ dark';
    at('theme').setAttribute('aria-label', 'change to the ' + other + ' theme');
    draw();
  }
  at('theme').addEventListener('click', () => {
    forced = true;
    show(root.dataset.theme === 'dark' ? 'light' : 'dark');
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
    if (!forced) show(event.matches ? 'dark' : 'light');
  });
  show(root.dataset.theme);
}
)js";

std::string html(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string script_string(const std::string& text) {
  std::string out;
  for (char c : json_string(text)) {
    if (c == '<' || c == '>' || c == '&') {
      out += format("\\u%04x", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string page_head(const std::string& title, const char* style, const char* scripts) {
  // The policy makes a browser enforce what the page promises: it fetches nothing.
  std::string head =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'";
  head += scripts;
  return head + "\">\n<title>" + html(title) + "</title>\n<style>" + kStyle + style + kPrintStyle +
         "</style>\n</head>\n<body>\n" + kThemeChoice;
}

}  // namespace thimble::tools
