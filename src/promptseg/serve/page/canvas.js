/** What the page's canvases have in common. */

const SEEN = 0.75; // of the fill of the current object, what others have

/** A function that has `draw` called before the screen is next painted, however often it is asked. */
export function oncePerFrame(draw) {
  let asked = 0;
  return () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
}

/** Put the pixels of a crop, in one colour, on a canvas of its size. */
export function tint(canvas, crop, [red, green, blue], fill, isCurrent) {
  const pixels = new ImageData(crop.width, crop.height);
  const alpha = Math.round(255 * fill * (isCurrent ? 1 : SEEN));
  const word = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const words = new Uint32Array(pixels.data.buffer);
  for (let k = 0; k < crop.data.length; k++) if (crop.data[k]) words[k] = word;
  canvas.width = crop.width;
  canvas.height = crop.height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** The mark of a click: a plus inside the object, a minus outside. */
export function drawClick(brush, px, py, inside) {
  brush.fillStyle = inside ? "#35d07f" : "#ff5a5f";
  brush.strokeStyle = "#08111c";
  brush.lineWidth = 1.5;
  brush.beginPath();
  brush.arc(px, py, 6, 0, 2 * Math.PI);
  brush.fill();
  brush.stroke();
  brush.beginPath();
  brush.moveTo(px - 3, py);
  brush.lineTo(px + 3, py);
  if (inside) {
    brush.moveTo(px, py - 3);
    brush.lineTo(px, py + 3);
  }
  brush.stroke();
}
