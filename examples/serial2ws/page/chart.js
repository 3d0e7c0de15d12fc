// Chart draws the last values of a series into a canvas.
export class Chart {
  points = []; // [milliseconds, value], oldest first

  constructor(canvas, keep = 300) {
    this.canvas = canvas;
    this.keep = keep;
  }

  add(time, value) {
    this.points.push([time, value]);
    this.points.splice(0, this.points.length - this.keep);
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    const g = this.canvas.getContext("2d");
    const values = this.points.map(([, value]) => value);
    // Room above and below, so that a steady value is a line in the middle.
    const low = Math.min(...values) - 1;
    const high = Math.max(...values) + 1;
    const first = this.points[0][0];
    const span = Math.max(this.points.at(-1)[0] - first, 1);
    const y = (value) => height - ((value - low) / (high - low)) * height;

    g.clearRect(0, 0, width, height);
    g.font = "24px sans-serif";
    g.fillStyle = "#889";
    g.strokeStyle = "#dde";
    for (let mark = Math.ceil(low); mark <= high; mark += Math.max(1, Math.round((high - low) / 6))) {
      g.beginPath();
      g.moveTo(0, y(mark));
      g.lineTo(width, y(mark));
      g.stroke();
      g.fillText(mark, 8, y(mark) - 4);
    }
    g.strokeStyle = "#27c";
    g.lineWidth = 3;
    g.beginPath();
    for (const [time, value] of this.points) g.lineTo(((time - first) / span) * width, y(value));
    g.stroke();
    g.lineWidth = 1;
  }
}
