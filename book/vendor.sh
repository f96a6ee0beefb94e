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

# Widgets without a kernel: one script and the icon fonts that it asks for.
unpack @jupyter-widgets/html-manager@1.0.15 "$vendor/html-manager"
cp package/dist/embed.js package/dist/embed.js.LICENSE.txt package/dist/*.woff2 "$vendor/html-manager/"
cp "$book/html-manager-LICENSE" "$vendor/html-manager/LICENSE"  # not in the package
rm -rf package

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
