// The page's style sheet. Colours are taken from Okabe and Ito's palette for all kinds of colour vision, darkened on light ground and lightened on
// dark ground until they reach a contrast of 3:1 as shapes and 4.5:1 as text; meaning never hangs on colour alone (shapes, dashes, words).
#include "report/sections.h"

namespace magicid::report {
namespace {

constexpr char colours[] = R"css(
:root{color-scheme:light dark;
--ground:#f6f5f2;--card:#ffffff;--ink:#1b1d22;--quiet:#5d616b;--line:#dedcd5;--soft:#ecebe6;--grid:#e7e5df;--track:#e9e7e1;
--blue:#0068a8;--orange:#b85a00;--green:#00775a;--purple:#9c4680;--grey:#6b6f79;
--notice-ground:#fff3d6;--notice-line:#dfa73a;--focus:#0068a8;--shadow:0 1px 2px rgba(30,28,20,.05),0 6px 20px rgba(30,28,20,.05)}
@media (prefers-color-scheme:dark){:root{
--ground:#121419;--card:#1b1e25;--ink:#e9e8e4;--quiet:#a3a8b3;--line:#30343e;--soft:#262a33;--grid:#2b2f38;--track:#2d313b;
--blue:#5cb8f2;--orange:#f2a241;--green:#3ecba5;--purple:#dd9bc8;--grey:#9aa0ac;
--notice-ground:#352b13;--notice-line:#a67b22;--focus:#5cb8f2;--shadow:none}}
)css";

constexpr char layout[] = R"css(
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:4rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif;overflow-wrap:break-word}
.inner{max-width:1440px;margin:0 auto;padding:0 clamp(16px,3vw,40px)}
.top{padding:clamp(28px,4vw,52px) 0 24px}
h1{font-size:clamp(1.7rem,3.4vw,2.5rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 .75rem;font-weight:680}
h2{font-size:1.55rem;line-height:1.2;letter-spacing:-.012em;margin:0 0 .7rem;font-weight:660}
h3{font-size:1.12rem;line-height:1.3;margin:2.1rem 0 .35rem;font-weight:640}
h4{font-size:.95rem;line-height:1.35;margin:0;font-weight:640}
section{padding:clamp(28px,3.4vw,46px) 0}
section+section{border-top:1px solid var(--line)}
p{margin:.35rem 0}
a{color:var(--blue);text-underline-offset:.15em}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:4px}
code,pre{font-family:ui-monospace,"Cascadia Mono","SF Mono",Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;font-size:.86em;overflow-wrap:anywhere}
.quiet{color:var(--quiet);font-weight:400}
.lead{color:var(--quiet);max-width:70ch;margin:0 0 1.1rem}
.note{color:var(--quiet);font-size:.85rem;line-height:1.45;margin:.5rem 0 0;max-width:78ch}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.skip{position:absolute;left:-999em;background:var(--card);padding:.5rem 1rem;z-index:9}
.skip:focus{left:1rem;top:1rem}
.count{display:inline-block;font-size:.8rem;font-weight:600;color:var(--quiet);background:var(--soft);border-radius:99px;padding:.05rem .55rem;margin-left:.2rem;vertical-align:.08em;font-variant-numeric:tabular-nums}
.facts{display:flex;flex-wrap:wrap;gap:.35rem 2rem;margin:0;font-size:.93rem}
.facts dt{display:inline;color:var(--quiet);margin-right:.45rem}
.facts dd{display:inline;margin:0;font-weight:560}
.notice{background:var(--notice-ground);border:1px solid var(--notice-line);border-radius:10px;padding:.7rem 1rem;margin:1.25rem 0 0;max-width:90ch}
.tiles{list-style:none;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,150px),1fr));gap:12px;padding:0;margin:1.6rem 0 0}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:.85rem 1rem .8rem;box-shadow:var(--shadow);display:flex;flex-direction:column}
.tiles .value{font-size:1.75rem;line-height:1.15;font-weight:660;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tiles .label{font-size:.9rem;line-height:1.35}
.tiles .quiet{font-size:.8rem;line-height:1.35}
nav{position:sticky;top:0;z-index:5;background:color-mix(in srgb,var(--ground) 92%,transparent);-webkit-backdrop-filter:blur(10px);backdrop-filter:blur(10px);border-block:1px solid var(--line)}
nav .inner{display:flex;align-items:center;gap:12px;min-height:48px}
nav ul{list-style:none;display:flex;gap:2px;margin:0 0 0 -10px;padding:0;overflow-x:auto;scrollbar-width:none;flex:1 1 auto;min-width:0}
nav a{display:block;padding:.5rem .65rem;color:var(--ink);text-decoration:none;font-size:.92rem;border-radius:8px;white-space:nowrap}
nav a:hover{background:var(--soft)}
button{font:inherit;font-size:.85rem;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.3rem .7rem;cursor:pointer;white-space:nowrap}
button:hover{border-color:var(--quiet)}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px;box-shadow:var(--shadow);min-width:0}
.grid{display:grid;gap:16px;align-items:start}
.grid.pairs{grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr))}
.grid.candidates{grid-template-columns:repeat(auto-fill,minmax(min(100%,240px),1fr))}
.grid.charts{grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr))}
.grid.intervals{grid-template-columns:repeat(auto-fit,minmax(min(100%,280px),1fr));gap:24px;margin-top:20px}
.grid.comparisons{grid-template-columns:repeat(auto-fill,minmax(min(100%,620px),1fr))}
.grid.adapters{grid-template-columns:repeat(auto-fill,minmax(min(100%,480px),1fr))}
.grid>*{min-width:0}
.grid.pairs,.grid.candidates,.grid.comparisons{align-items:stretch}
.empty{border:1px dashed var(--line);border-radius:12px;padding:1rem 1.1rem;color:var(--quiet);margin:.6rem 0}
.notes{margin:.4rem 0 1rem;padding-left:1.2rem;max-width:90ch}
figure{margin:0;min-width:0}
.references{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(44%,150px),1fr));gap:14px;margin-top:1rem;max-width:1100px}
.references img{display:block;width:100%;aspect-ratio:4/5;object-fit:cover;border-radius:12px;background:var(--soft)}
.references figcaption{font-size:.82rem;color:var(--quiet);margin-top:.35rem;overflow-wrap:anywhere}
.prompt{font-size:.93rem;line-height:1.45;font-weight:400;margin:.3rem 0 .8rem;text-wrap:pretty}
h4.prompt{font-weight:560;font-size:1rem;margin-top:0}
.sides{display:grid;grid-template-columns:1fr 1fr;gap:12px}
.side figcaption{font-size:.85rem;line-height:1.4;margin-bottom:.4rem}
.side figcaption a{font-weight:600}
.side .quiet{display:block}
.pair{display:flex;flex-direction:column}.pair .rewards{margin-top:auto}.pair .sides{margin-bottom:12px}
.tag{display:inline-block;font-size:.74rem;font-weight:640;line-height:1.5;border-radius:6px;padding:0 .45rem;border:1px solid currentColor;margin-right:.15rem}
.tag.win{color:var(--blue)}.tag.lose{color:var(--orange);border-style:dashed}.tag.best{color:var(--green);margin-left:.45rem}
video{display:block;width:100%;height:auto;max-height:78vh;object-fit:contain;border-radius:10px;background:#0b0c0f}
video:not([width]){aspect-ratio:16/9}
.novideo{display:grid;place-content:center;text-align:center;min-height:110px;margin:0;padding:.8rem;border-radius:10px;border:1px dashed var(--line);color:var(--quiet);font-size:.85rem}
noscript .novideo{min-height:0;border:0;padding:.3rem}
)css";

constexpr char figures[] = R"css(
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:560}
.rewards{width:100%;font-size:.86rem}
.rewards th{width:5.4rem;padding:.3rem 0;vertical-align:middle}
.rewards td{padding:.3rem 0;vertical-align:middle}
.rewards tr+tr>*{border-top:1px solid var(--grid)}
.rewards .delta{width:3.4rem;text-align:right;font-weight:640}
.bar{display:flex;align-items:center;gap:.5rem;line-height:1.25}
.track{flex:1 1 auto;height:8px;border-radius:4px;background:var(--track);overflow:hidden}
.fill{display:block;height:100%;border-radius:4px}
.fill.win{background:var(--blue)}
.fill.lose{background:repeating-linear-gradient(115deg,var(--orange) 0 4px,color-mix(in srgb,var(--orange) 62%,var(--card)) 4px 6px)}
.num{flex:0 0 1.9rem;text-align:right;color:var(--quiet);font-size:.8rem}
.figures{width:100%;margin-top:10px;font-size:.84rem}
.figures th,.figures td{padding:.16rem 0}
.figures td,.figures thead th+th{text-align:right}
.figures thead th{color:var(--quiet);font-weight:400;font-size:.78rem}
.key-line{margin:.5rem 0 0;color:var(--quiet);font-size:.74rem;line-height:1.3}
.candidate:target{outline:3px solid var(--focus);outline-offset:2px}
.candidate h4{display:flex;gap:.4rem;align-items:center;flex-wrap:wrap;margin-bottom:.3rem}
.rejected{font-size:.85rem;color:var(--orange);font-weight:560}
.scroll{overflow-x:auto}
.evaluation{width:100%;min-width:460px}
.evaluation th,.evaluation td{padding:.55rem .9rem .55rem 0;vertical-align:top;border-bottom:1px solid var(--grid)}
.evaluation thead th{font-size:.9rem}
.evaluation .quiet{display:block;font-size:.8rem;line-height:1.35}
.evaluation td{font-size:1.05rem}
.dot{display:inline-block;width:.72rem;height:.72rem;border-radius:50%;margin-right:.5rem;background:var(--arm)}
.a0{--arm:var(--grey)}.a1{--arm:var(--orange)}.a2{--arm:var(--blue)}.a3{--arm:var(--purple)}
.arms{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.values{margin:.5rem 0 0;font-size:.82rem;line-height:1.45;font-variant-numeric:tabular-nums}
.values div{display:flex;justify-content:space-between;gap:.6rem}
.values dt{color:var(--quiet)}.values dd{margin:0;font-weight:600}
.settings{font-size:.88rem;width:100%;max-width:1000px;table-layout:fixed}
.settings th,.settings td{padding:.28rem .8rem .28rem 0;border-bottom:1px solid var(--grid);vertical-align:top;overflow-wrap:anywhere;white-space:pre-wrap}
.times{font-size:.9rem;width:100%;max-width:640px}
.times th{width:8rem;padding:.25rem 0}.times .num{flex-basis:5.4rem}
details.more{margin-top:16px}
summary{cursor:pointer;font-weight:600;padding:.55rem .9rem;border:1px solid var(--line);border-radius:10px;background:var(--card);width:fit-content;max-width:100%}
summary:hover{border-color:var(--quiet)}
details[open]>summary{margin-bottom:16px}
.adapter h3{margin:0 0 .2rem}
.snippet{margin-top:.5rem}
.snippet pre{margin:0;padding:1rem;border-radius:10px;background:var(--soft);overflow:auto;white-space:pre-wrap;line-height:1.5;max-height:60vh}
.copy{display:block;margin:0 0 .4rem auto}
[hidden]{display:none!important}
footer{border-top:1px solid var(--line);margin-top:40px;padding:18px 0 40px;color:var(--quiet);font-size:.88rem}
)css";

constexpr char drawings[] = R"css(
.chart{background:var(--card)}
.charts .chart{border:1px solid var(--line);border-radius:14px;padding:14px 14px 12px;box-shadow:var(--shadow);height:100%}
.chart figcaption{display:flex;flex-wrap:wrap;gap:.1rem 1rem;justify-content:space-between;align-items:baseline;margin-bottom:.4rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem .9rem;margin:0;padding:0;font-size:.82rem;color:var(--quiet)}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend.column{flex-direction:column;gap:.5rem;font-size:.92rem;color:var(--ink);margin-bottom:1rem}
.key{flex:0 0 auto;overflow:visible}
.plot{display:block;width:100%;height:auto}
.plot text{font-family:inherit;fill:var(--quiet);font-variant-numeric:tabular-nums}
.plot .tick{font-size:11.5px}.plot .axis{font-size:12px}.plot .leveltext{font-size:11.5px;paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.plot.scatter .tick{font-size:11.5px}.plot.scatter .axis{font-size:12.5px}
path.grid{fill:none;stroke:var(--grid);stroke-width:1;display:inline}
.line,.raw,.front,.level,.whisker{fill:none;stroke-linejoin:round;stroke-linecap:round}
.line{stroke-width:2.2;stroke:var(--ink-line)}.raw{stroke-width:1;stroke:var(--ink-line);opacity:.2}
.plain{--ink-line:var(--blue)}.winner{--ink-line:var(--blue)}.loser{--ink-line:var(--orange)}.second{--ink-line:var(--grey)}
.dashed{stroke-dasharray:6 4}.raw.dashed{stroke-dasharray:none}
.level{stroke:var(--quiet);stroke-width:1.2;stroke-dasharray:2 3}
.front{stroke:var(--ink);stroke-width:1.6;opacity:.72}.front.dashed{opacity:.5}
.pt>*{fill:var(--pt);fill-opacity:.82;stroke:var(--card);stroke-width:1}
.g0{--pt:var(--green)}.g1{--pt:var(--orange)}.g2{--pt:var(--blue)}
.pt.first>*{stroke:var(--ink);stroke-width:1.6;fill-opacity:1}
.pt.hollow>*{fill:var(--card);fill-opacity:.01;stroke:var(--pt);stroke-width:1.8}
a.pt:hover>*,a.pt:focus>*{stroke:var(--ink);stroke-width:2.5;fill-opacity:1}
.arm circle{fill:var(--arm);stroke:var(--card);stroke-width:2}.whisker{stroke:var(--arm);stroke-width:3}
.peek{display:none;max-width:420px;margin-top:1.2rem}
.cursor{stroke:var(--quiet);stroke-width:1}
.beside{display:grid;grid-template-columns:minmax(0,1fr);gap:20px}
#tip{position:fixed;z-index:10;pointer-events:none;max-width:min(340px,calc(100vw - 24px));background:var(--ink);color:var(--ground);font-size:.82rem;line-height:1.4;padding:.5rem .7rem;border-radius:8px;white-space:pre-line;left:0;top:0}
#tip[hidden]{display:none}
@media (min-width:980px){.peek.on{display:block}.beside{grid-template-columns:minmax(0,760px) minmax(220px,1fr);gap:36px}}
@media (max-width:640px){
.plot .tick{font-size:13px}.plot .axis{font-size:13px}.front{stroke-width:2.4}.evaluation{min-width:0;font-size:.8rem}.evaluation thead th{font-size:.8rem}.evaluation thead .quiet{display:none}.evaluation td{font-size:.9rem}.evaluation td .quiet{font-size:.72rem}.evaluation th,.evaluation td{padding-right:.45rem}.evaluation .dot{margin-right:.35rem;width:.6rem;height:.6rem}.tag.best{margin-left:0}
.plot.scatter .tick{font-size:17px}.plot.scatter .axis{font-size:18px}
.card{padding:13px}
.arms{grid-template-columns:1fr}
.arms .side{display:grid;grid-template-columns:minmax(0,1.25fr) minmax(0,1fr);column-gap:12px;align-items:start}
.arms .side figcaption{grid-column:1/-1}.arms .values{margin-top:0}.arms .values div{display:block}
.references{grid-template-columns:repeat(3,1fr);gap:10px}
}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{nav,.copy,#pause{display:none}.card,.chart{break-inside:avoid}}
)css";

}  // namespace

Html style_sheet() { return Html::trusted(std::string("<style>/*<![CDATA[*/") + colours + layout + figures + drawings + "/*]]>*/</style>"); }

}  // namespace magicid::report
