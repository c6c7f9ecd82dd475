"""The dashboard as a vector picture: dashboard.py URL WORK SVG. The browser prints the page, poppler turns it into SVG, svgo makes it small."""
import re
import subprocess
import sys
import urllib.request

url, work, target = sys.argv[1:]
width, height = 1180, int(sys.argv[4]) if len(sys.argv) > 4 else 1080
page = urllib.request.urlopen(url).read().decode()
style = "".join(urllib.request.urlopen(url + link).read().decode() for link in re.findall(r'<link[^>]*stylesheet[^>]*href="([^"]+)"', page))
page = re.sub(r"<link[^>]*stylesheet[^>]*>", "", page)
page = re.sub(r"<script.*?</script>", "", page, flags=re.S)
page = page.replace(work + "/home/", "")
page = page.replace("</head>", f"<style>{style}\n@page {{ size: {width}px {height}px; margin: 0 }}\n* {{ box-shadow: none !important }}</style></head>")
open(f"{work}/page.html", "w").write(page)
subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={work}/page.pdf", f"file://{work}/page.html"], check=True, capture_output=True)
subprocess.run(["pdftocairo", "-svg", "-f", "1", "-l", "1", f"{work}/page.pdf", f"{work}/page.svg"], check=True)
subprocess.run(["npm", "exec", "--yes", "--package", "svgo@4", "--", "svgo", "--multipass", "-p", "2", f"{work}/page.svg", "-o", target], check=True, capture_output=True)
