#!/bin/sh
# Fills book/_static/vendor and tests/site/axe from the npm registry, so that no page asks a third
# party for anything.  Run once per new version, by hand; commit the result with its SHA256SUMS.
set -eu
book=$(cd "$(dirname "$0")" && pwd)
vendor=$book/_static/vendor
axe=$book/../tests/site/axe
work=$(mktemp -d)
cd "$work"

unpack() { tar xzf "$(npm pack --silent "$1")" && rm -rf "$2" && mkdir -p "$2"; }

# Formulas.  The parts instead of the combined script: the menu (0.4 MB) stays at home.
unpack mathjax@3.2.2 "$vendor/mathjax"
cd package/es5
cp --parents core.js startup.js input/tex.js input/tex/extensions/boldsymbol.js output/chtml.js \
  output/chtml/fonts/tex.js output/chtml/fonts/woff-v2/*.woff a11y/assistive-mml.js "$vendor/mathjax/"
cp ../LICENSE "$vendor/mathjax/"
cd "$work" && rm -rf package

# Accessibility rules for tests/site; no part of the site.
unpack axe-core@4.14.1 "$axe"
cp package/axe.min.js package/LICENSE package/LICENSE-3RD-PARTY.txt "$axe/"

for folder in "$vendor" "$axe"; do
  (cd "$folder" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS)
done
rm -rf "$work"
