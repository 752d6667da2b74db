// SPDX-License-Identifier: Apache-2.0
// Opens the pages of this directory in Chromium, and uses them by the keyboard alone. Run by tests/report/mod.rs.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { contrasts } from "./contrast.mjs";

const MOST_PARTS = 4000;
const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGUMENTS });

// Opens a page; whatever it asks for or complains of fails the test.
async function open(name, fragment = "", options = {}) {
  const context = await browser.newContext({ offline: true, viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const url = pathToFileURL(`${name}.html`).href;
  page.wrong = [];
  page.on("request", (request) => request.url().split("#")[0] !== url && page.wrong.push(`request ${request.url()}`));
  page.on("console", (message) => page.wrong.push(`console ${message.text()}`));
  page.on("pageerror", (err) => page.wrong.push(err.stack));
  await page.goto(`${url}#${fragment}`);
  if (options.javaScriptEnabled !== false) await page.waitForFunction(() => document.documentElement.dataset.ready, null, { timeout: 60_000 });
  return page;
}

async function close(page) {
  assert.deepEqual(page.wrong, []);
  await page.context().close();
}

const hash = (page) => page.evaluate(() => location.hash.slice(1));
const focused = (page) => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
const text = (page, selector) => page.locator(selector).innerText();
const snapshot = (page, selector) => page.locator(selector).ariaSnapshot();

async function press(page, ...keys) {
  for (const key of keys) await page.keyboard.press(key);
  // The fragment is set at once, and read in a task of its own.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
}

async function go(page, fragment) {
  await page.evaluate((to) => (location.hash = to), fragment);
  await press(page);
}

// Presses Tab until the focus is in what `selector` names.
async function tabTo(page, selector) {
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement.closest(wanted) !== null, selector)) return;
  }
  assert.fail(`no way by Tab to ${selector}`);
}

const tests = {
  async "the views are tabs, and keys go from one to the next"() {
    const page = await open("small");
    assert.match(await snapshot(page, "#tabs"), /tablist "View":\s+- tab "Contents" \[selected\]\s+- tab "Layers"\s+- tab "Waste"\s+- tab "Difference"\s+- tab "Store"/);
    for (const [key, view] of [["2", "layers"], ["3", "waste"], ["4", "difference"], ["5", "store"]]) {
      await press(page, key);
      assert.equal(await hash(page), `view=${view}`);
    }
    await press(page, "1");
    await tabTo(page, "#tabs");
    await press(page, "ArrowRight");
    assert.equal(await focused(page), "Layers");
    assert.equal(await hash(page), "view=layers");
    await press(page, "ArrowLeft");
    assert.equal(await hash(page), "");
    await close(page);
  },

  async "Enter goes in, Backspace out, arrows move"() {
    const page = await open("small");
    assert.match(await snapshot(page, "#stage"), /tree "Contents of \/":\s+- treeitem "usr, directory, 5\.92 kB, 100 %, layer 1"/);
    await tabTo(page, "[role=treeitem]");
    assert.match(await focused(page), /^usr, directory/);
    await press(page, "ArrowRight");
    assert.match(await focused(page), /^(etc|var), /);
    await press(page, "Home", "Enter");
    assert.equal(await hash(page), "path=usr");
    assert.match(await focused(page), /^big, /);
    await press(page, "End", "Home", "ArrowRight");
    assert.doesNotMatch(await focused(page), /^big, /);
    await page.evaluate(() => [...document.querySelectorAll("[role=treeitem]")].find((part) => part.getAttribute("aria-label").startsWith("lib,")).focus());
    await press(page, "Enter");
    assert.equal(await hash(page), "path=usr/lib");
    await press(page, "Backspace");
    assert.equal(await hash(page), "path=usr");
    assert.match(await focused(page), /^lib, /, "the part that was left has the focus");
    await page.goBack();
    assert.equal(await hash(page), "path=usr/lib");
    await close(page);
  },

  async "the fragment holds the state"() {
    const state = "view=difference&b=0&image=1&path=usr&table=true&measure=packed&query=b&sort=path.up";
    const page = await open("small", state);
    const before = await snapshot(page, "#app");
    await press(page, "t", "t");
    assert.equal(await snapshot(page, "#app"), before);
    await page.reload();
    await page.waitForFunction(() => document.documentElement.dataset.ready);
    assert.equal(await snapshot(page, "#app"), before);
    await close(page);
    for (const odd of ["view=none&image=99&path=no/such&layer=-3&sort=x", "path=%&query=%", "=&&&=="]) await close(await open("small", odd));
  },

  async "tables are grids that sort and scroll by the keyboard"() {
    const page = await open("small", "table=true&path=usr");
    assert.match(await snapshot(page, "#stage"), /grid "Contents of usr":[^]*- columnheader "Name":[^]*- columnheader "Unpacked":[^]*- gridcell "big"/);
    assert.equal(await page.locator("[role=columnheader][aria-sort=descending]").innerText(), "Unpacked");
    await tabTo(page, "[role=grid]");
    const active = () => page.evaluate(() => document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.textContent);
    assert.match(await active(), /^big/);
    await press(page, "ArrowDown");
    assert.match(await active(), /^lib/);
    await press(page, "Enter");
    assert.equal(await hash(page), "path=usr/lib&table=true");
    await press(page, "Backspace");
    assert.match(await active(), /^lib/);
    await tabTo(page, "[data-column=path]");
    await press(page, "Enter");
    assert.match(await hash(page), /sort=path\.up/);
    assert.equal(await focused(page), "Name", "the button keeps the focus");
    await press(page, "Enter");
    assert.match(await hash(page), /sort=path\.down/);
    await close(page);
  },

  async "t, b, [ ], x, / and ? do what the help says"() {
    const page = await open("small");
    await press(page, "t");
    assert.equal(await hash(page), "table=true");
    await press(page, "t", "b");
    assert.equal(await hash(page), "measure=packed");
    await press(page, "b", "]");
    assert.equal(await hash(page), "image=1");
    assert.equal(await text(page, "#title"), "app:other");
    await press(page, "[", "4", "x");
    assert.equal(await hash(page), "view=difference&image=1&b=0");
    await press(page, "?");
    assert.match(await snapshot(page, "dialog"), /dialog "Keys"/);
    await press(page, "Escape", "1", "/");
    assert.equal(await focused(page), "Filter by name");
    await page.keyboard.type("NEW");
    await page.waitForFunction(() => location.hash.includes("query=NEW"));
    await press(page, "Enter");
    assert.equal(await text(page, "#sum"), "filtered by “NEW”");
    await press(page, "/", "Escape");
    assert.doesNotMatch(await hash(page), /query/);
    await close(page);
  },

  async "every control is reached by Tab, has a name and shows the focus"() {
    for (const view of ["map", "layers", "waste", "difference", "store"]) {
      for (const table of ["false", "true"]) {
        const page = await open("small", `view=${view}&table=${table}&path=usr`);
        const all = await page.evaluate(() => [...document.querySelectorAll("button, select, input, [tabindex='0']")].filter((element) => element.checkVisibility() && element.tabIndex >= 0).length);
        const met = new Set();
        for (let step = 0; step < all; step += 1) {
          await page.keyboard.press("Tab");
          const at = await page.evaluate(() => {
            const element = document.activeElement;
            const style = getComputedStyle(element);
            const name = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
            return { name, text: `${element.tagName} ${element.id} ${name}`, outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
          });
          assert.ok(at.name.trim(), `${view}: ${at.text} has no name`);
          assert.ok(at.outline, `${view}: ${at.text} does not show the focus`);
          met.add(at.text);
        }
        assert.equal(met.size, all, `${view}: ${[...met].join("; ")}`);
        await close(page);
      }
    }
  },

  async "what layers hide and what images differ in"() {
    const page = await open("small", "view=waste&table=true");
    const rows = () => page.locator("[role=row][data-row]").allInnerTexts().then((all) => all.map((row) => row.replace(/\s+/g, " ").trim()));
    await press(page, "Tab");
    const waste = (await rows()).sort();
    assert.deepEqual(waste.map((row) => row.split(" ").slice(0, 2).join(" ")), ["etc/motd replaced", "etc/old removed", "var/copy removed", "var/log same"]);
    await press(page, "4");
    const letters = (await rows()).map((row) => row.split(" ").slice(0, 2).join(" ")).sort();
    assert.deepEqual(letters, ["A var/copy", "D usr/bin/new", "M etc/motd", "T usr/big", "m var/log"]);
    await press(page, "t");
    assert.match(await snapshot(page, "#stage"), /treeitem "usr, 1 deleted, 1 other type, A 5\.00 kB, B 7 B"/);
    await press(page, "2");
    assert.match(await snapshot(page, "#stage"), /treeitem "Layer 1, .* hidden/);
    await tabTo(page, "[role=treeitem]");
    await press(page, "ArrowDown", "Enter");
    assert.equal(await hash(page), "layer=1");
    await press(page, "Backspace");
    assert.equal(await hash(page), "view=layers");
    await close(page);
  },

  async "the store is a trunk of few images and a matrix of many"() {
    let page = await open("small", "view=store");
    assert.match(await snapshot(page, "#stage"), /treeitem "Layer [0-9a-f]{12}, 40\.0 MB, in 3 images"/);
    await tabTo(page, "[role=treeitem]");
    await press(page, "ArrowRight", "ArrowDown");
    await page.evaluate(() => [...document.querySelectorAll("[role=treeitem]")].find((part) => part.getAttribute("aria-label").startsWith("Image app:other")).focus());
    await press(page, "Enter");
    assert.equal(await hash(page), "image=1");
    await close(page);
    page = await open("shelf");
    assert.match(await snapshot(page, "#stage"), /grid "Images over the layers that they share"/);
    assert.equal(await page.locator("[role=grid]").getAttribute("aria-rowcount"), "401");
    await tabTo(page, "[role=grid]");
    await press(page, "End");
    assert.match(await text(page, "#detail"), /^image-00399/);
    await close(page);
  },

  async "hostile names are text"() {
    const page = await open("hostile");
    for (const fragment of ["", "table=true", "view=layers", "view=waste", "view=store", "query=script&table=true", "path=%3c%2fscript%3e"]) {
      await go(page, fragment);
      assert.deepEqual(await page.evaluate(() => [window.pwned, document.images.length, document.scripts.length]), [undefined, 0, 1]);
      const seen = await page.evaluate(() => document.body.innerText + [...document.querySelectorAll("[aria-label]")].map((element) => element.getAttribute("aria-label")).join(" "));
      assert.doesNotMatch(seen, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/);
    }
    await go(page, "table=true");
    const names = await page.locator("[role=row] bdi").allInnerTexts();
    for (const name of ["<img src=x onerror=window.pwned=1>", "line\\u{a}break\\u{9}tab\\u{1b}[31m", "\\u{202e}gnp.exe", "no \\xff\\xfe utf-8", "__proto__"]) {
      assert.ok(names.some((found) => found.startsWith(name)), `${name} in ${names.join("; ")}`);
    }
    await tabTo(page, "[role=grid]");
    for (let row = 0; row < 10; row += 1) {
      await press(page, "Enter");
      if ((await hash(page)).includes("path=")) await press(page, "Backspace");
      await press(page, "ArrowDown");
    }
    await close(page);
  },

  async "colors have contrast, in light and in dark"() {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open("small", "", { colorScheme });
      for (const fragment of ["", "table=true", "view=layers", "view=waste", "view=waste&table=true", "view=difference", "view=difference&table=true", "view=store"]) {
        await go(page, fragment);
        const { bad, count } = await page.evaluate(contrasts);
        assert.deepEqual(bad, [], `${colorScheme} ${fragment}`);
        assert.ok(count > 30);
      }
      await close(page);
    }
  },

  async "without scripts the largest files are a table"() {
    const page = await open("large", "", { javaScriptEnabled: false });
    assert.equal(await page.locator("#plain tbody tr").count(), 100);
    assert.ok(await page.locator("#plain").isVisible());
    await close(page);
  },

  async "narrow windows, paper and less motion"() {
    for (const view of ["map", "layers", "waste", "difference", "store"]) {
      const page = await open("small", `view=${view}`, { viewport: { width: 360, height: 740 }, reducedMotion: "reduce" });
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} is wider than the window`);
      const moving = await page.evaluate(() => [...document.querySelectorAll("*")].some((element) => parseFloat(getComputedStyle(element).transitionDuration) > 0));
      assert.ok(!moving);
      await page.emulateMedia({ media: "print" });
      assert.ok(await page.locator("#plain table").isVisible());
      await close(page);
    }
  },

  async "500,000 paths are there within two seconds, and stay quick"() {
    const times = [];
    for (let run = 0; run < 3; run += 1) {
      const page = await open("large");
      times.push(Number(await page.evaluate(() => document.documentElement.dataset.ready)));
      if (run === 0) await useLarge(page);
      await close(page);
    }
    console.log(`interactive after ${times.join(", ")} ms`);
    // Other tests run on the same cores; the best of three tells the page.
    assert.ok(Math.min(...times) <= 2000, times.join(", "));
  },
};

async function useLarge(page) {
  await tabTo(page, "[role=treeitem]");
  await press(page, "Enter", "Enter");
  assert.equal(await hash(page), "path=opt/modules");
  const parts = await page.evaluate(() => document.querySelectorAll("*").length);
  assert.ok(parts < MOST_PARTS, `${parts} elements`);
  const begin = await page.evaluate(() => performance.now());
  await press(page, "t", "/");
  await page.keyboard.type(".js");
  await page.waitForFunction(() => document.querySelector("[role=grid]")?.getAttribute("aria-rowcount") > 400_000);
  await press(page, "Enter", "End");
  assert.match(await text(page, ".row.active"), /\.js/);
  await tabTo(page, "[data-column=path]");
  await press(page, "Enter");
  const took = await page.evaluate((from) => performance.now() - from, begin);
  console.log(`filter, end of the table and sort: ${Math.round(took)} ms`);
  assert.ok((await page.evaluate(() => document.querySelectorAll("*").length)) < MOST_PARTS);
}

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  const begin = performance.now();
  try {
    await test();
    console.log(`ok ${name} (${Math.round(performance.now() - begin)} ms)`);
  } catch (err) {
    failed += 1;
    console.log(`FAILED ${name}\n${err.stack}`);
  }
}
await browser.close();
process.exitCode = failed ? 1 : 0;
