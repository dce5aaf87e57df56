/* One episode of the browser on a canvas: the video's frame and, over it, where the policy looked. */

const CANVAS_WIDTH = 768;
const DROPPED_OPACITY = 0.8;
const HEAT_OPACITY = 0.85;
/* matplotlib's inferno, from no attention to the greatest of the moment. */
const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39],
  [252, 255, 164]];

function decode(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function heatColor(share) {
  const place = share * (HEAT.length - 1);
  const below = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[below].map((value, channel) => value + (place - below) * (HEAT[below + 1][channel] - value));
}

function describe(episode) {
  return `${episode.policy}, ${episode.starts}`;
}

/* Attention and kept patches of one episode, decoded. */
class Focus {
  constructor(given) {
    Object.assign(this, given);
    this.attention = decode(given.attention);
    this.kept = decode(given.kept);
  }

  /* A sentence if this layer or this head is not here; otherwise empty. Number 0 is the mean over all. */
  absence(layer, head) {
    if (layer !== 0 && !this.layers.includes(layer)) return `The page has no layer ${layer} of this episode.`;
    return head < this.shape[2] ? "" : `This policy has no head ${head}.`;
  }

  /* Where the patches of a moment begin. */
  begin(inference, layer, head) {
    const [inferences, layers, heads, patches] = this.shape;
    const place = layer === 0 ? 0 : this.layers.indexOf(layer) + 1;
    return ((Math.min(inference, inferences - 1) * layers + place) * heads + head) * patches;
  }

  /* The patches of one camera out of `values`, 0 to 255, row by row. */
  patches(values, begin, camera) {
    const count = this.rows * this.columns;
    const first = begin + this.cameras.indexOf(camera) * count;
    return values.subarray(first, first + count);
  }
}

/* One episode on a canvas: the video's frame and, over it, where the policy looked. */
class Screen {
  constructor(look, place) {
    this.look = look;
    this.video = create("video", { hidden: "", muted: "", playsinline: "", preload: "auto" });
    this.canvas = create("canvas", { role: "img" });
    this.badge = create("span");
    this.name = create("span", { class: `series-${place + 1}` });
    this.note = create("p", { class: "note" });
    const caption = create("figcaption");
    caption.append(this.badge, " ", this.name, this.note);
    this.figure = create("figure");
    this.figure.append(this.video, this.canvas, caption);
    this.video.addEventListener("loadeddata", () => this.prepare());
    this.video.addEventListener("seeked", () => this.arrive());
    this.followFrames();
    this.video.addEventListener("error", () => {
      this.note.textContent = "This browser cannot play the video, which is H.264 in MP4.";
    });
  }

  open(episode, frame) {
    this.close();
    this.episode = episode;
    this.focus = episode.focus && new Focus(episode.focus);
    this.framesPerSecond = episode.controlRate / episode.stepsPerFrame;
    this.wanted = frame;
    this.sought = null;
    this.isReady = false;
    this.badge.className = episode.success ? "outcome success" : "outcome failure";
    this.badge.textContent = episode.success ? "Success" : "Failure";
    this.name.textContent = `${describe(episode)}, trial ${episode.trial}`;
    this.video.src = this.url = URL.createObjectURL(new Blob([decode(episode.video)], { type: "video/mp4" }));
  }

  close() {
    URL.revokeObjectURL(this.url);
  }

  prepare() {
    this.lastFrame = Math.max(0, Math.round(this.video.duration * this.framesPerSecond) - 1);
    const scale = Math.max(1, Math.round(CANVAS_WIDTH / this.video.videoWidth));
    this.canvas.width = scale * this.video.videoWidth;
    this.canvas.height = scale * this.video.videoHeight;
    this.isReady = true;
    this.seek(this.wanted);
  }

  seek(frame) {
    this.wanted = frame;
    if (!this.isReady || this.video.seeking) return;
    this.sought = frame;
    /* The middle of a frame, so that rounding shows no neighbor. */
    this.video.currentTime = (Math.min(frame, this.lastFrame) + 0.5) / this.framesPerSecond;
  }

  arrive() {
    this.draw();
    if (this.sought !== this.wanted) this.seek(this.wanted);
  }

  /* A browser may say that it has arrived before it shows the frame: what it shows later is drawn again. */
  followFrames() {
    if (!("requestVideoFrameCallback" in this.video)) return;
    this.video.requestVideoFrameCallback(() => {
      this.draw();
      this.followFrames();
    });
  }

  draw() {
    if (!this.isReady) return;
    const { canvas, episode, focus, look, video } = this;
    const frame = Math.min(Math.floor(video.currentTime * this.framesPerSecond), this.lastFrame);
    const step = Math.min(frame * episode.stepsPerFrame, episode.steps);
    const inference = episode.asked.findLastIndex((asked) => asked <= step);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const absence = focus ? focus.absence(look.layer, look.head) : episode.noFocusBecause;
    const attention = absence || `Attention: ${this.drawFocus(inference).join(", ")}.`;
    canvas.dataset.step = step;
    const moment = `Step ${step} of ${episode.steps}.`;
    canvas.setAttribute("aria-label", `${episode.instruction}. ${moment}`);
    this.note.textContent = `${moment} ${attention}`;
  }

  /* Returns each camera's share of the attention, in words. */
  drawFocus(inference) {
    const { focus, look, canvas, episode } = this;
    const begin = focus.begin(inference, look.layer, look.head);
    const width = canvas.width / episode.cameras.length;
    const sums = focus.cameras.map((camera) => {
      const attention = focus.patches(focus.attention, begin, camera);
      const place = this.seenPart(episode.cameras.indexOf(camera) * width, width);
      if (!look.hiddenCameras.has(camera)) {
        if (look.isDimmed) this.dim(focus.patches(focus.kept, begin, camera), place);
        if (look.isHeated) this.heat(attention, place);
      }
      return attention.reduce((sum, value) => sum + value, 0);
    });
    const total = sums.reduce((sum, value) => sum + value, 0) || 1;
    return focus.cameras.map((camera, index) => `${camera} ${Math.round(100 * sums[index] / total)} %`);
  }

  /* Where on the canvas the patches of a camera lie, whose picture may be cropped before the policy sees it. */
  seenPart(left, width) {
    const side = this.focus.seenSide;
    const margin = (1 - side) / 2;
    return {
      left: left + margin * width,
      top: margin * this.canvas.height,
      width: side * width,
      height: side * this.canvas.height,
    };
  }

  /* Darken each patch by the share of those that dropped it. */
  dim(kept, place) {
    const { rows, columns } = this.focus;
    const context = this.canvas.getContext("2d");
    const [across, down] = [place.width / columns, place.height / rows];
    kept.forEach((share, patch) => {
      context.fillStyle = `rgba(12, 14, 16, ${DROPPED_OPACITY * (1 - share / 255)})`;
      const [column, row] = [patch % columns, Math.floor(patch / columns)];
      context.fillRect(place.left + column * across, place.top + row * down, across, down);
    });
  }

  heat(attention, place) {
    const { rows, columns } = this.focus;
    const small = create("canvas", { width: columns, height: rows });
    const picture = new ImageData(columns, rows);
    attention.forEach((value, patch) => {
      picture.data.set([...heatColor(value / 255), HEAT_OPACITY * value], 4 * patch);
    });
    small.getContext("2d").putImageData(picture, 0, 0);
    this.canvas.getContext("2d").drawImage(small, place.left, place.top, place.width, place.height);
  }
}
