// SPDX-License-Identifier: MIT
// What pages for the browser share: looks, light and dark, and how text gets into them. They are
// whole in one file and fetch nothing.
#ifndef THIMBLE_TOOLS_PAGE_H
#define THIMBLE_TOOLS_PAGE_H

#include <functional>
#include <string>

namespace thimble::tools {

// Gets a file piece by piece.
using TextSink = std::function<void(const std::string&)>;

// Text for an element, or for an attribute in double quotes.
std::string html(const std::string& text);

// A JSON string inside of a script element: without "<" nothing in it can end the element.
std::string script_string(const std::string& text);

// From the doctype to the script that chooses the theme, inside of the body. `style` is CSS behind
// the shared one. Both themes' colours are variables: --page, --card, --ink, --soft, --line,
// --accent, --bar, --mark. The page has a button with the id "theme". `scripts` are sources of
// scripts that the page's policy allows beside its own.
std::string page_head(const std::string& title, const char* style, const char* scripts = "");

// JavaScript: `root`, `at(id)`, `element(name, class, text)`, and `useTheme(draw)`, which is called
// once, last: it brings the button to life and calls draw() now and whenever the theme changes.
extern const char kPageScript[];

}  // namespace thimble::tools

#endif
