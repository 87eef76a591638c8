/* Tries examples/playground.html in headless Chromium: each example's report must be that of Python outside the browser.

     npm install --no-save puppeteer-core @sparticuz/chromium    # or CHROMIUM=/path/to/chromium and puppeteer-core alone
     node .ci/playground.mjs [--pyodide FOLDER] [--pictures FOLDER]

   Without a network, FOLDER has the files of the npm package pyodide and the wheels of numpy, micropip and packaging
   that its pyodide-lock.json names. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";
import puppeteer from "puppeteer-core";

const { values: { pyodide, pictures } } = parseArgs({ options: { pyodide: { type: "string" }, pictures: { type: "string" } } });
const root = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "..");
const wheels = mkdtempSync(join(tmpdir(), "playground-"));
execFileSync("python", ["-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, root], { stdio: "inherit" });
const [wheel] = readdirSync(wheels);

const types = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const folders = { pyodide, wheel: wheels, page: join(root, "examples") };
const server = createServer((request, response) => {
  const [, folder, name] = new URL(request.url, "http://localhost").pathname.split("/");
  try {
    const body = readFileSync(join(folders[folder], name));
    response.writeHead(200, { "Content-Type": types[extname(name)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise(done => server.listen(0, "127.0.0.1", done));
const url = `http://127.0.0.1:${server.address().port}/page/playground.html?wheel=/wheel/${wheel}${pyodide ? "&pyodide=/pyodide/" : ""}`;

const bundled = process.env.CHROMIUM ? undefined : (await import("@sparticuz/chromium")).default;
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? await bundled.executablePath(), headless: "shell",
  args: ["--no-sandbox", "--disable-gpu"], protocolTimeout: 300_000,
});
const page = await browser.newPage();
page.on("pageerror", error => failed(`the page: ${error}`));
let failures = 0;
const failed = what => { failures += 1; console.log(`FAILED ${what}`); };
const expect = (what, is) => is ? console.log(`ok ${what}`) : failed(what);
const report = () => page.$eval("#report", e => e.textContent.trim());
const ready = () => page.waitForFunction(() => !document.getElementById("run").disabled, { timeout: 200_000 });
const picture = async name => { if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true }); };
const check = async code => {
  if (code !== undefined) await page.$eval("#code", (e, code) => { e.value = code; }, code);
  await page.click("#run");
  await ready();
  return report();
};
const words = text => text.replace(/[\d.,]+(e[-+]\d+)?/g, "#").replace(/\s+/g, " ").trim();
const outside = (driver, code) => execFileSync("python", ["-c", `${driver}\nprint(report(${JSON.stringify(code)}))`], { cwd: root, encoding: "utf8" });

try {
  await page.goto(url);
  await picture("loading");
  await ready();
  const driver = await page.$eval("#driver", e => e.textContent);
  for (const name of await page.$$eval("#example option", options => options.map(o => o.value))) {
    await page.select("#example", name);
    const code = await page.$eval("#code", e => e.value);
    const [here, there] = [await check(), outside(driver, code)];
    expect(`${name}: ${here.match(/WRONG.*/)}`, here.includes("WRONG") && words(here) === words(there));
    await picture(name);
  }
  expect("an error has its line", (await check("x = 1\nprint('seen')\n1 / (x - 1)")).match(/^seen[^]*line 3[^]*1 \/ \(x - 1\)[^]*ZeroDivisionError/));
  await picture("error");
  expect("an error in syntax has its line", (await check("def forward(:")).match(/line 1[^]*SyntaxError/));
  expect("what is missing is named", (await check("inputs = ()")).startsWith("there is no forward and no backward"));
  await page.$eval("#code", e => { e.value = "while True: pass"; });
  await page.click("#run");
  await page.click("#stop");
  await ready();
  await page.select("#example", "code");
  expect("what never ends can be stopped", (await check()).includes("WRONG: scale"));
  for (const [name, features, width] of [["dark", "dark", 900], ["phone", "light", 360], ["dark phone", "dark", 360]]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: features }]);
    await page.setViewport({ width, height: 800 });
    expect(`${name}: nothing is wider than the page`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await picture(name);
  }
  await page.goto(url.replace(wheel, "nnfunc-9.9-py3-none-any.whl"));
  await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("could not"), { timeout: 200_000 });
  expect("what could not be loaded is said", (await report()).startsWith("loading nnfunc … failed"));
  await picture("not loaded");
} catch (error) {
  failed(error);
} finally {
  await browser.close();
  server.close();
}
process.exit(failures ? 1 : 0);
