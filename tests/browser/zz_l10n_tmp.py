import os, subprocess
from pathlib import Path
import pytest
from django.urls import reverse
from playwright.sync_api import expect
from tests.browser.month import write_a_month
from tests.browser.steps import let_in
from tests.factories import make_key
OUT=Path("/tmp/shots"); OUT.mkdir(exist_ok=True)
def test_shots(visitor, alice, red, server):
    alice.name="Alice Ferrer"; alice.save()
    server.manage("add_engine","--name","Demo","--type","demo")
    keys=[make_key(red,name=n).key for n in ("archivo","boletín-diario")]
    write_a_month(team=red, member=alice, keys=keys)
    k=make_key(red,name="viejo",owner=alice).key
    from accounts.keys import revoke_key
    revoke_key(key=k,by=alice)
    from gateway.models import Engine
    for n,l in enumerate(("es","fr")):
        alice.language=l; alice.save()
        page=visitor(viewport={"width":1440,"height":900}, locale=l)
        let_in(page, alice, server)
        page.goto(reverse("chat:home")+"?model=demo")
        page.locator("#message").fill("¿Qué es una tertulia?" if l=="es" else "Qu'est-ce que le protocole HTTP ?")
        page.locator("#send").click()
        expect(page.locator(".tally").last).to_be_visible(timeout=60000)
        conv=page.url
        if n==0: Engine.objects.create(name="GPU sótano",type="vllm",url="http://10.0.0.3:8000",problem="The engine cannot be reached.")
        pages={"home":reverse("console:team-home",args=[red.slug]),"chat":conv,"chathome":reverse("chat:home"),"keys":reverse("accounts:keys",args=[red.slug]),"newkey":reverse("console:new-key",args=[red.slug]),"usage":reverse("billing:usage",args=[red.slug]),"usage1":reverse("billing:usage",args=[red.slug])+"?period=today","usagekey":reverse("billing:usage",args=[red.slug])+"?period=7d&group=key&metric=cost","models":reverse("gateway:models",args=[red.slug]),"engines":reverse("gateway:engines"),"mfa":reverse("mfa_index"),"email":reverse("account_email"),"quick":reverse("console:quickstart"),"sessions":reverse("usersessions_list")}
        for w,h in ((1440,900),(360,740)):
            page.set_viewport_size({"width":w,"height":h})
            for name,u in pages.items():
                page.goto(u); page.wait_for_load_state("networkidle")
                over=page.evaluate("""() => { const w=document.documentElement.clientWidth; const r=[]; if(document.documentElement.scrollWidth>w) r.push('PAGE '+document.documentElement.scrollWidth);
                  for(const e of document.querySelectorAll('button,a,label,span,td,th,h1,h2,p,dt,dd,select')){ const b=e.getBoundingClientRect(); if(b.width&&b.right>w+1&&!e.closest('.vh,.table-wrap,pre,.pop,[hidden],.side,.convs')) r.push(e.tagName+':'+e.textContent.trim().slice(0,40)+' '+Math.round(b.right)); if(e.scrollWidth>e.clientWidth+1&&getComputedStyle(e).overflowX!='visible'&&!e.closest('.vh,.table-wrap,pre')&&e.clientWidth) r.push('CLIP '+e.tagName+':'+e.textContent.trim().slice(0,40)); } return r }""")
                if over: print(l,w,name,over[:8])
                page.screenshot(path=OUT/f"{l}-{name}-{w}.png", full_page=name not in("chat","chathome"))
            page.goto(pages["newkey"]); page.locator("[name=name]").fill("nocturno"+str(w)+l); page.locator("form.form button.primary").click()
            expect(page.locator("#secret")).to_be_visible(); page.screenshot(path=OUT/f"{l}-created-{w}.png",full_page=True)
            page.locator("header.masthead details.menu summary").last.click(); page.screenshot(path=OUT/f"{l}-menu-{w}.png")
            page.goto(pages["keys"]+f"{keys[0].pk}/revoke/" if False else reverse("accounts:revoke-key",args=[red.slug,keys[0].pk])); page.screenshot(path=OUT/f"{l}-revoke-{w}.png")
        pass
        p2=visitor(viewport={"width":1440,"height":900}, locale=l)
        for w,h in ((1440,900),(360,740)):
            p2.set_viewport_size({"width":w,"height":h})
            for nm in ("account_login","account_reset_password"):
                p2.goto(reverse(nm)); p2.screenshot(path=OUT/f"{l}-{nm}-{w}.png",full_page=True)
        if n==0: Engine.objects.filter(type="vllm").delete()
