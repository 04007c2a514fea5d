//! People: who is let in, and in which role.

use toka_types::facts::{Facts, Role, UserCreated, UserRoleAssigned};
use toka_types::operation::GrantTerms;
use toka_types::{EntityId, GrantId, Name};

use super::{Asked, Decided, one};
use crate::denial::{Code, Denied};
use crate::limits::MAX_USERS;
use crate::world::Grant;

impl Asked<'_> {
    pub(super) fn create_user(
        &self,
        name: &Name,
        role: Role,
        terms: &GrantTerms,
    ) -> Result<Vec<Decided>, Denied> {
        let (cut_from, _) = self.grant("user:create")?;
        self.count(
            "user:create",
            "people",
            self.world.users().count() + 1,
            self.most(|l| l.people, MAX_USERS),
        )?;
        let user = EntityId::named(name.as_str());
        if self.world.name_of(user).is_some() {
            let rule = format!("'{name}' is the name of an agent or a person already");
            return Err(self.deny(Code::UserExists, "user:create", rule));
        }
        self.not_above(role, "user:create")?;
        Ok(one(Facts::UserCreated(UserCreated {
            user,
            name: name.clone(),
            role,
            grant: GrantId(self.world.next_grant + 1),
            cut_from,
            uses: terms.uses.clone(),
            delegates: terms.delegates.clone(),
            expires: terms.expires,
        })))
    }

    pub(super) fn assign_role(&self, user: EntityId, role: Role) -> Result<Vec<Decided>, Denied> {
        let asked = "user:assign";
        let Some(found) = self.world.user(user) else {
            return Err(self.deny(Code::UserUnknown, asked, format!("there is no person {user}")));
        };
        self.above(found.grant, &found.name, asked)?;
        self.not_above(role, asked)?;
        Ok(one(Facts::UserRoleAssigned(UserRoleAssigned { user, role })))
    }

    /// Nobody gives a role above their own. The operator, and agents, whose grants alone bound them, have none.
    fn not_above(&self, role: Role, asked: &str) -> Result<(), Denied> {
        match self.world.user(self.envelope.origin) {
            Some(giver) if role > giver.role => {
                let rule =
                    format!("the role {role} is above that of '{}', who is {}", giver.name, giver.role);
                Err(self.deny(Code::RoleInsufficient, asked, rule))
            }
            _ => Ok(()),
        }
    }

    /// A person's role bounds what their grant allows, and what every grant that was cut from it does: nobody has done by an
    /// agent what their role keeps from them.
    pub(super) fn in_role(&self, grant: &Grant, resource: &str, action: &str) -> Result<(), Denied> {
        for (person, user) in self.world.people_over(grant) {
            if user.role.may(resource, action) {
                continue;
            }
            let asked = format!("{resource}:{action}");
            let whose = if person == grant.subject { "" } else { " and this grant was cut from theirs," };
            let rule =
                format!("'{}' is {},{whose} and that role does not reach {asked}", user.name, user.role);
            return Err(self.deny(Code::RoleInsufficient, &asked, rule));
        }
        Ok(())
    }
}
