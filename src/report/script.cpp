// The page's script. Everything can be read without it; it plays videos while they are in view (browsers limit how many a page may hold
// open, so those out of view let go of theirs), shows tooltips, and opens the list that a click in the scatter leads to.
#include "report/sections.h"

namespace magicid::report {
namespace {

constexpr char videos[] = R"js(
var videos=[].slice.call(document.querySelectorAll('video[src],video[data-same]'));
var sources=new Map();
var calm=window.matchMedia&&matchMedia('(prefers-reduced-motion: reduce)').matches;
var pause=document.getElementById('pause');
var paused=calm;
function own(video){return video.id||video.getAttribute('data-same');}
videos.forEach(function(video){
  if(video.id){sources.set(video.id,{uri:video.getAttribute('src'),url:null});}
});
function urlOf(id){
  var source=sources.get(id);
  if(!source){return '';}
  if(!source.url){
    var comma=source.uri.indexOf(','),type=source.uri.slice(5,source.uri.indexOf(';'));
    var plain=atob(source.uri.slice(comma+1)),bytes=new Uint8Array(plain.length);
    for(var i=0;i<plain.length;i++){bytes[i]=plain.charCodeAt(i);}
    source.url=URL.createObjectURL(new Blob([bytes],{type:type}));
    source.uri=null;
  }
  return source.url;
}
function play(video){
  if(paused||video.dataset.held==='1'){return;}
  var done=video.play();
  if(done&&done.catch){done.catch(function(){});}
}
// Videos of one prompt, or of one pair: they play together, and are stopped together.
var groups=[].map.call(document.querySelectorAll('.arms,.sides'),function(row){return [].slice.call(row.querySelectorAll('video'));}).filter(function(group){return group.length>1;});
function together(video){
  for(var i=0;i<groups.length;i++){if(groups[i].indexOf(video)>=0){return groups[i];}}
  return [video];
}
// The longest leads; a shorter one runs on in its own loop from the same start. Setting the time is cheap but seen, so small drift is left alone.
function align(group){
  var ready=group.filter(function(video){return video.readyState>=2&&video.duration>0;});
  if(ready.length<2){return;}
  var leader=ready.reduce(function(best,video){return video.duration>best.duration+0.01?video:best;});
  if(leader.paused){return;}
  ready.forEach(function(video){
    if(video===leader||video.seeking){return;}
    var wanted=leader.currentTime%video.duration,drift=Math.abs(video.currentTime-wanted);
    if(Math.min(drift,video.duration-drift)>0.08){video.currentTime=wanted;}
  });
}
if(groups.length){setInterval(function(){groups.forEach(align);},250);}
function open(video){
  if(!video.hasAttribute('src')){video.preload='auto';video.src=urlOf(own(video));}
  play(video);
}
function close(video){
  video.pause();
  if(video.hasAttribute('src')){video.removeAttribute('src');video.load();}
}
if('IntersectionObserver' in window){
  // Muted has to be set as a property: elements that lose their source forget the attribute in some browsers.
  videos.forEach(function(video){
    video.autoplay=false;video.muted=true;video.controls=false;video.tabIndex=0;
    close(video);
    video.title='Click to pause or play';
    video.addEventListener('click',function(){toggle(video);});
    video.addEventListener('keydown',function(event){if(event.key===' '||event.key==='Enter'){event.preventDefault();toggle(video);}});
  });
  var seen=new IntersectionObserver(function(entries){
    entries.forEach(function(entry){
      if(entry.isIntersecting){open(entry.target);}else{close(entry.target);}
    });
  },{rootMargin:'120px 0px'});
  videos.forEach(function(video){seen.observe(video);});
  if(videos.length){pause.hidden=false;}
}
function toggle(video){
  var start=video.paused,group=together(video);
  group.forEach(function(other){
    other.dataset.held=start?'':'1';
    if(!start){other.pause();return;}
    if(!other.hasAttribute('src')){return;}
    var done=other.play();
    if(done&&done.catch){done.catch(function(){});}
  });
  align(group);
}
function label(){pause.textContent=paused?'Play videos':'Pause videos';pause.setAttribute('aria-pressed',String(paused));}
label();
pause.addEventListener('click',function(){
  paused=!paused;label();
  videos.forEach(function(video){
    if(paused){video.pause();}else if(video.hasAttribute('src')){play(video);}
  });
});
)js";

constexpr char tooltips[] = R"js(
var peek=document.getElementById('peek');
var tip=document.getElementById('tip');
function show(text,x,y){
  tip.textContent=text;tip.hidden=false;
  var box=tip.getBoundingClientRect();
  var left=x+14+box.width>innerWidth-8?x-14-box.width:x+14,top=y+14+box.height>innerHeight-8?y-14-box.height:y+14;
  tip.style.left=Math.max(8,left)+'px';tip.style.top=Math.max(8,top)+'px';
}
function hide(){tip.hidden=true;}
document.querySelectorAll('a.pt').forEach(function(point){
  var title=point.querySelector('title'),text=title.textContent;
  point.removeChild(title);point.setAttribute('aria-label',text);
  point.addEventListener('pointermove',function(event){show(text,event.clientX,event.clientY);});
  point.addEventListener('pointerleave',hide);
  point.addEventListener('pointerenter',function(){
    var card=document.getElementById(point.getAttribute('href').slice(1));
    var video=card&&card.querySelector('video'),view=peek.querySelector('video');
    peek.classList.add('on');
    view.hidden=!video;view.muted=true;
    ['width','height'].forEach(function(name){if(video&&video.hasAttribute(name)){view.setAttribute(name,video.getAttribute(name));}else{view.removeAttribute(name);}});
    if(video){view.src=urlOf(own(video));play(view);}else{view.removeAttribute('src');}
  });
});
function numbers(svg,name){return svg.getAttribute(name).split(' ').map(Number);}
function short(value){
  if(value===0){return '0';}
  var size=Math.abs(value);
  return size>=1e5||size<1e-3?value.toExponential(2):String(Number(value.toPrecision(4)));
}
document.querySelectorAll('svg.curves').forEach(function(svg){
  var box=numbers(svg,'data-box'),range=numbers(svg,'data-range'),lines=null;
  var cursor=document.createElementNS(svg.namespaceURI,'path');
  cursor.setAttribute('class','cursor');svg.appendChild(cursor);
  function read(){
    lines=[].map.call(svg.querySelectorAll('polyline[data-label]'),function(line){
      return {name:line.getAttribute('data-label'),points:line.getAttribute('points').trim().split(' ').map(function(pair){return pair.split(',').map(Number);})};
    });
  }
  svg.addEventListener('pointermove',function(event){
    if(!lines){read();}
    var area=svg.getBoundingClientRect(),x=(event.clientX-area.left)/area.width*420;
    if(x<box[0]-4||x>box[2]+4){hide();cursor.removeAttribute('d');return;}
    var text=[],at=null;
    lines.forEach(function(line){
      var best=null;
      line.points.forEach(function(point){if(!best||Math.abs(point[0]-x)<Math.abs(best[0]-x)){best=point;}});
      if(!best||Math.abs(best[0]-x)>12){return;}
      at=best[0];
      text.push(line.name+': '+short(range[2]+(box[3]-best[1])/(box[3]-box[1])*(range[3]-range[2])));
    });
    if(at===null){hide();return;}
    text.unshift('step '+Math.round(range[0]+(at-box[0])/(box[2]-box[0])*(range[1]-range[0])));
    cursor.setAttribute('d','M'+at+' '+box[1]+'V'+box[3]);
    show(text.join('\n'),event.clientX,event.clientY);
  });
  svg.addEventListener('pointerleave',function(){hide();cursor.removeAttribute('d');});
});
addEventListener('scroll',hide,{passive:true});
)js";

constexpr char navigation[] = R"js(
function reveal(){
  var target=location.hash.length>1&&document.getElementById(location.hash.slice(1));
  if(!target){return;}
  for(var node=target.parentElement;node;node=node.parentElement){if(node.tagName==='DETAILS'){node.open=true;}}
  target.scrollIntoView({block:target.tagName==='SECTION'?'start':'center'});
}
addEventListener('hashchange',reveal);
// The second click on the same link changes no hash.
document.querySelectorAll('a[href^="#c"]').forEach(function(link){link.addEventListener('click',function(){hide();setTimeout(reveal,0);});});
reveal();
if(navigator.clipboard){
  document.querySelectorAll('button.copy').forEach(function(button){
    button.hidden=false;
    button.addEventListener('click',function(){
      navigator.clipboard.writeText(button.parentElement.querySelector('code').textContent).then(function(){
        button.textContent='Copied';
        setTimeout(function(){button.textContent='Copy';},1500);
      },function(){button.textContent='Select and copy';});
    });
  });
}
)js";

}  // namespace

Html script() {
  return Html::trusted(std::string("<script>//<![CDATA[\n(function(){'use strict';") + videos + tooltips + navigation + "})();\n//]]></script>");
}

}  // namespace magicid::report
