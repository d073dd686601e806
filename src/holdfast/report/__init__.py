"""Pure renderers from outcomes to HTML, SARIF and JSON."""
