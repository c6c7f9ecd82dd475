"""The dashboard, used by a person: a real Chromium presses its buttons, and axe looks at it as a screen reader would.

    dashboard.py URL [DIRECTORY]     screenshots go into DIRECTORY

Ends with exit code 1 and a line for each thing that is not as it should be: a console error, a violation of the content
security policy, a request to a host that is not ours, a serious fault of accessibility, a dialog that does what was not asked.
"""

import shutil
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

url = sys.argv[1]
pictures = sys.argv[2] if len(sys.argv) > 2 else None
faults = []
# As long as a slow machine needs; nothing waits longer than it has to.
PATIENCE = 120_000
expect.set_options(timeout=PATIENCE)


def look_for_faults(page, where):
    found = Axe().run(page).response["violations"]
    for violation in found:
        if violation["impact"] in ("serious", "critical"):
            targets = [str(node["target"]) for node in violation["nodes"]][:3]
            faults.append(f"{where}: axe: {violation['id']}: {violation['help']}: {', '.join(targets)}")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 0:
        faults.append(f"{where}: the page is {wide} pixels wider than its window")
    if pictures:
        page.screenshot(path=f"{pictures}/{where.replace(' ', '-')}.png", full_page=True)


def watched(context):
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: faults.append(f"console: {message.text}") if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else faults.append(f"a request to {request.url}"))
    page.add_init_script("document.addEventListener('securitypolicyviolation', event => console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI))")
    return page


def check(holds, words):
    if not holds:
        faults.append(words)


def act(page, opener, fields, until):
    """Opens a dialog, fills it, and waits for what it says in the end."""
    page.locator(opener).click()
    dialog = page.locator("#ask")
    expect(dialog).to_be_visible()
    for name, value in fields.items():
        field = dialog.locator(f"[name={name}]")
        if isinstance(value, bool):
            field.set_checked(value)
        elif field.evaluate("it => it.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    dialog.locator("#ask-go").click()
    expect(page.locator("#live")).to_contain_text(until)


def typed_confirmation(page, opener, name):
    """What destroys wants the name typed, whole and exact."""
    page.locator(opener).click()
    go, typed = page.locator("#ask-go"), page.locator("#ask [name=confirm]")
    check(go.is_disabled(), f"{opener}: can be pressed before anything was typed")
    for wrong in [name[:-1], name.upper(), f"{name} ", "yes"]:
        typed.fill(wrong)
        check(go.is_disabled(), f"{opener}: can be pressed after {wrong!r} was typed")
    typed.press("Enter")
    check(page.locator("#ask").is_visible(), f"{opener}: Enter got past the confirmation")
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    check(page.evaluate("document.activeElement.id") == opener.lstrip("#"), f"{opener}: Escape does not lead back to where one was")


def by_keyboard(page):
    """Everything that can be pressed is reached by Tab, and is seen when it is reached."""
    page.locator("body").press("Home")
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        here = page.evaluate("""() => {
            const it = document.activeElement, style = getComputedStyle(it);
            return [it.id, it === document.body || style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
        }""")
        reached.add(here[0])
        check(here[1], f"nothing shows that {here[0]!r} has the focus")
    wanted = set(page.eval_on_selector_all("main button", "all => all.slice(0, 5).map(it => it.id)"))
    check(wanted <= reached, f"Tab does not reach {wanted - reached}")


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"], timeout=PATIENCE)
    page = watched(browser.new_context(viewport={"width": 1280, "height": 900}))
    page.goto(url)
    look_for_faults(page, "first look")
    by_keyboard(page)

    act(page, "button[data-act=create]", {"name": "by-hand"}, "Backed up: by-hand")
    expect(page.locator("#verify-by-hand")).to_be_visible()
    act(page, "#verify-by-hand", {"level": "checksum"}, "Proven: by-hand")
    typed_confirmation(page, "#restore-by-hand", "by-hand")
    act(page, "#restore-by-hand", {"confirm": "by-hand"}, "Restored: by-hand")
    page.locator("#delete-by-hand").click()
    for words in ["Host", "Engine", "PostgreSQL", "Database", "app", "Gone", "by-hand.sql.gz"]:
        expect(page.locator("#ask-facts")).to_contain_text(words)
    look_for_faults(page, "dialog")
    page.keyboard.press("Escape")
    typed_confirmation(page, "#delete-by-hand", "by-hand")
    act(page, "#delete-by-hand", {"confirm": "by-hand", "last": True}, "Deleted: by-hand")
    expect(page.locator("#delete-by-hand")).to_have_count(0)

    # The drills over time, and one drill's phases.
    check(page.locator("svg").count() > 0, "there is no chart")
    evidence = page.locator("a[href*='/drills/']").first
    expect(evidence).to_be_visible()
    with page.expect_navigation():
        evidence.click()
    check("evidence" in page.url, f"the link to the evidence leads to {page.url}")
    look_for_faults(page, "evidence")
    page.get_by_role("link", name="Back to the dashboard").click()
    expect(page.locator("#drills")).to_be_visible()

    # What is searched for stays while the page looks again.
    page.locator("#q").fill("nothing is called so")
    page.locator("#q").press("Enter")
    expect(page.locator("#backups")).to_contain_text("No backup matches.")
    look_for_faults(page, "search")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#backups table")).to_be_visible()

    for name, options in {
        "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
        "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
        "dark phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
        "without script": {"viewport": {"width": 1280, "height": 900}, "java_script_enabled": False},
    }.items():
        other = watched(browser.new_context(**options))
        other.goto(url)
        if name == "without script":
            check(other.locator("main").inner_text().strip(), "without scripts there is nothing to read")
        else:
            look_for_faults(other, name)
    browser.close()

for fault in dict.fromkeys(faults):
    print(fault)
sys.exit(1 if faults else 0)
