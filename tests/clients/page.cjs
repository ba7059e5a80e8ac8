// Opens pages in a real headless Chromium and says, as JSON, what a reader would meet there.
//
//     node page.cjs FOLDER PAGE.html...    # with FOLDER "-", no screenshots
//
// For each page, width and colour scheme: what the console said, what was fetched besides the page, how far the content
// reaches beyond the window, and, figure by figure, what is drawn and which texts run into each other or out of the plot.
"use strict";
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const WIDTHS = [390, 1280];
const SCHEMES = ["light", "dark"];
// A hang guard for all pages together.
const PATIENCE_MS = 50_000;

/** The DevTools protocol over the pipes that Chromium has at descriptors 3 and 4: JSON messages that end in NUL. */
class Browser {
  constructor(profile) {
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
      "--disable-background-networking", "--remote-debugging-pipe", `--user-data-dir=${profile}`];
    this.child = spawn("chromium", flags, { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] });
    this.said = "";
    this.child.stderr.on("data", (data) => { this.said += data; });
    this.child.on("error", (error) => this.fail(error));
    this.child.on("exit", (code) => this.fail(new Error(`chromium ended with ${code}: ${this.said}`)));
    // How it ended is told by its exit.
    this.child.stdio.slice(3).forEach((pipe) => pipe.on("error", () => {}));
    this.waiting = new Map();
    this.listeners = [];
    this.last = 0;
    let pending = Buffer.alloc(0);
    this.child.stdio[4].on("data", (data) => {
      pending = Buffer.concat([pending, data]);
      for (let end = pending.indexOf(0); end >= 0; end = pending.indexOf(0)) {
        this.take(JSON.parse(pending.subarray(0, end).toString()));
        pending = pending.subarray(end + 1);
      }
    });
  }

  take(message) {
    if (message.id === undefined) {
      this.listeners.forEach((listener) => listener(message));
      return;
    }
    const { resolve, reject } = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.error) reject(new Error(JSON.stringify(message.error))); else resolve(message.result);
  }

  fail(error) {
    this.waiting.forEach(({ reject }) => reject(error));
    this.waiting.clear();
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.last;
    this.child.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  /** The next event with this name, which must not have come yet. */
  next(name, sessionId) {
    return new Promise((resolve) => {
      const listener = (message) => {
        if (message.method === name && message.sessionId === sessionId) {
          this.listeners.splice(this.listeners.indexOf(listener), 1);
          resolve(message.params);
        }
      };
      this.listeners.push(listener);
    });
  }

  async close() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.send("Browser.close").catch(() => {});
    await ended;
  }
}

/** Runs in the page, whose window is `width` wide: a telephone's would grow with what is too wide for it. */
function look(width) {
  const box = (element) => element.getBoundingClientRect();
  const visible = [...document.body.querySelectorAll("*")].filter((element) => box(element).width > 0);
  // What scrolls inside its own box does not make the page scroll.
  const beyond = visible
    .filter((element) => !element.closest(".scroll"))
    .filter((element) => box(element).right > width + 0.5 || box(element).left < -0.5);
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/[\d.]+/g).slice(0, 3).map((part) => {
      const share = Number(part) / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const contrast = (colour) => {
    const [low, high] = [paper, luminance(colour)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const figures = [...document.querySelectorAll("figure")].map((figure) => {
    const svg = figure.querySelector("svg");
    const frame = box(svg);
    const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim() !== "");
    const boxes = texts.map((text) => ({ text: text.textContent.trim(), ...box(text).toJSON() }));
    const overlaps = [];
    boxes.forEach((one, index) => boxes.slice(index + 1).forEach((other) => {
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 1 && down > 3) overlaps.push(`${one.text} / ${other.text}`);
    }));
    const outside = boxes.filter((one) => one.left < frame.left - 1 || one.right > frame.right + 1
      || one.top < frame.top - 2 || one.bottom > frame.bottom + 2).map((one) => one.text);
    // What stands for data, as against axes and grid, has a colour of the legend.
    const colours = new Set();
    for (const mark of svg.querySelectorAll("polyline, circle")) {
      if (box(mark).width + box(mark).height === 0) continue;
      const { stroke, fill } = getComputedStyle(mark);
      colours.add(stroke).add(fill);
    }
    const legend = [...figure.querySelectorAll(".legend > span")].map((entry) => ({
      name: entry.textContent.trim(),
      colour: getComputedStyle(entry.querySelector(".key")).backgroundColor,
    }));
    return {
      title: figure.querySelector("h2")?.textContent ?? "",
      labels: texts.length,
      smallest: Math.min(...boxes.map((one) => one.height)),
      faintest: Math.min(...texts.map((text) => contrast(getComputedStyle(text).fill))),
      legend: legend.map((entry) => entry.name),
      missing: legend.filter((entry) => !colours.has(entry.colour)).map((entry) => entry.name),
      overlaps,
      outside,
    };
  });
  return {
    overflow: document.documentElement.scrollWidth - width,
    beyond: beyond.map((element) => `${element.tagName} ${element.textContent.slice(0, 40)}`),
    contrast: contrast(getComputedStyle(document.body).color),
    height: document.documentElement.scrollHeight,
    figures,
  };
}

/** One page, loaded once, seen at every width and in every colour scheme. */
async function visit(browser, file, folder) {
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId);
  const said = [];
  const fetched = [];
  const listener = ({ method, params, sessionId: of }) => {
    if (of !== sessionId) return;
    if (method === "Runtime.consoleAPICalled") said.push(params.args.map((arg) => arg.value).join(" "));
    if (method === "Runtime.exceptionThrown") said.push(params.exceptionDetails.text);
    if (method === "Log.entryAdded") said.push(params.entry.text);
    if (method === "Network.requestWillBeSent") fetched.push(params.request.url);
  };
  browser.listeners.push(listener);
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true });
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  };
  const loaded = browser.next("Page.loadEventFired", sessionId);
  const { errorText } = await send("Page.navigate", { url: pathToFileURL(file).href });
  if (errorText) throw new Error(`${file}: ${errorText}`);
  await loaded;
  const views = [];
  for (const width of WIDTHS) {
    const mobile = width < 600;
    const [height, deviceScaleFactor] = [844, mobile ? 2 : 1];
    const screen = { screenWidth: width, screenHeight: height };
    await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor, mobile, ...screen });
    for (const scheme of SCHEMES) {
      await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
      const shown = `screen.width === ${width} && matchMedia("(prefers-color-scheme: ${scheme})").matches`;
      while (!await evaluate(shown)) await new Promise((resolve) => setTimeout(resolve, 10));
      const view = await evaluate(`(${look})(${width})`);
      views.push({ page: path.basename(file), width, scheme, ...view });
      if (folder !== "-") {
        const clip = { x: 0, y: 0, width, height: Math.min(view.height, 6000), scale: 1 };
        const { data } = await send("Page.captureScreenshot", { captureBeyondViewport: true, clip });
        fs.writeFileSync(path.join(folder, `${path.basename(file, ".html")}-${width}-${scheme}.png`), data, "base64");
      }
    }
  }
  browser.listeners.splice(browser.listeners.indexOf(listener), 1);
  await browser.send("Target.closeTarget", { targetId });
  // The first request is for the page itself.
  return views.map((view) => ({ ...view, console: said, fetched: fetched.slice(1) }));
}

async function main() {
  const [folder, ...files] = process.argv.slice(2);
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "page-"));
  const browser = new Browser(profile);
  const guard = setTimeout(() => browser.child.kill("SIGKILL"), PATIENCE_MS);
  try {
    const seen = [];
    for (const file of files) seen.push(...await visit(browser, file, folder));
    await browser.close();
    console.log(JSON.stringify(seen));
  } finally {
    clearTimeout(guard);
    browser.child.kill("SIGKILL");
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

main().catch((error) => { console.error(error); process.exitCode = 1; });
