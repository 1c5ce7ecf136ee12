"""How the page looks. Colours of text and ground are gradio's own, which follow the light or dark of the system."""

from __future__ import annotations

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.mm h1, .mm h2, .mm h3, .mm th { font-weight: 600; }
.mm p a { color: var(--link-text-color); text-decoration: underline; }
.mm h1 { font-size: 1.5rem; margin: 0 0 .3rem; }
.mm h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
.mm h3 { font-size: 1rem; margin: 0 0 .35rem; overflow-wrap: anywhere; }
.mm p { margin: .2rem 0 .5rem; line-height: 1.45; }
.mm .faint { color: var(--body-text-color-subdued); font-size: .9rem; }
.mm .wrong { border-left: 4px solid #D55E00; padding: .35rem .7rem; overflow-wrap: anywhere; }
.mm pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; margin: .3rem 0; }
.mm summary { cursor: pointer; padding: .15rem 0; }
.mm-grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.mm-card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .8rem; min-width: 0; }
.mm-card > img { display: block; height: 190px; max-width: 100%; object-fit: contain; margin: 0 0 .6rem; }
.mm-grid.one { grid-template-columns: minmax(0, 680px); }
.mm-grid.one .mm-card { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0 1.1rem; }
.mm-grid.one .mm-card > img { height: auto; width: 200px; max-height: 320px; }
@media (max-width: 560px) {
  .mm-grid.one .mm-card { display: block; }
  .mm-grid.one .mm-card > img { height: 190px; width: auto; }
}
#why-button { max-width: 260px; }
.mm-two > section { max-width: 640px; }
.mm ul.bars { list-style: none; margin: 0 0 .4rem; padding: 0; }
.mm ul.bars li { margin: 0 0 .45rem; padding: 0; }
.mm .line { display: flex; gap: .5rem; align-items: baseline; font-variant-numeric: tabular-nums; }
.mm .line .name { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.mm .given .line { font-weight: 700; }
.mm .change { font-weight: 400; font-size: .85rem; color: var(--body-text-color-subdued); }
.mm .bar { position: relative; height: 10px; margin-top: 2px; background: var(--border-color-primary); }
.mm .bar > i { position: absolute; top: 0; bottom: 0; left: 0; background: #999999; }
.mm .given .bar { height: 14px; }
.mm .given .bar > i { background: #0072B2; }
.mm .bar > s { position: absolute; top: 0; bottom: 0; left: 0; border: 1px dashed var(--body-text-color); }
.mm .bar > b { position: absolute; top: -3px; bottom: -3px; width: 3px; margin-left: -1px; background: #D55E00; }
.mm-key { display: inline-block; width: 3px; height: .95em; background: #D55E00; vertical-align: -.1em; }
.mm-was { display: inline-block; width: 1.6em; height: .7em; border: 1px dashed var(--body-text-color); }
.mm-sights { display: flex; flex-wrap: wrap; gap: 1rem; margin: .6rem 0; }
.mm-sights figure { margin: 0; width: min(100%, 270px); }
.mm-sights figcaption { font-size: .9rem; margin-top: .25rem; }
.mm-poster { position: relative; }
.mm-poster img { display: block; width: 100%; margin: 0; }
.mm-poster img.grey { filter: grayscale(1) brightness(.6); }
.mm-poster img.heat { position: absolute; inset: 0; height: 100%; }
.mm-box { position: absolute; border: 2px solid; outline: 1.5px solid #fff; box-sizing: border-box; }
.mm-box b, .mm .number { color: #fff; font-size: .75rem; line-height: 1; padding: 2px 4px; display: inline-block; }
.mm-box b { position: absolute; left: 0; top: 0; transform: translate(-60%, -60%); }
.mm-two { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
.mm .share { position: relative; height: 14px; margin: 2px 0 .5rem; background: var(--border-color-primary); }
.mm .share > i { position: absolute; top: 0; bottom: 0; }
.mm .share > b { position: absolute; inset: -2px auto -2px 50%; width: 1px; background: var(--body-text-color); }
.mm .dot { display: inline-block; width: .75em; height: .75em; margin-right: .4em; }
.mm table { width: 100%; border-collapse: collapse; font-size: .92rem; }
.mm th, .mm td { text-align: left; padding: .25rem .4rem; border-bottom: 1px solid var(--border-color-primary); }
.mm td { overflow-wrap: anywhere; }
.mm td.sum, .mm th.sum { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.mm a.get { display: inline-block; padding: .45rem .9rem; margin: 0 .5rem .5rem 0; border-radius: 6px;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color) !important; text-decoration: none; }
.mm a.get:hover, .mm a.get:focus-visible { border-color: #0072B2; }
"""
